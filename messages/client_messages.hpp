// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the public face asks of a router, and how ids and references go into messages.
#pragma once

#include <cstdint>
#include <vector>

#include <caf/meta/type_name.hpp>

#include <pikv/messages/buffer_ref.hpp>
#include <pikv/messages/kinds.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

template <class Inspector, class Tag, class Rep>
typename Inspector::result_type inspect(Inspector& f, strong_id<Tag, Rep>& x) {
  return f(x.value);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, buffer_ref& x) {
  return f(caf::meta::type_name("buffer_ref"), x.device, x.arena, x.slot, x.generation, x.bytes);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, entry_account& x) {
  return f(caf::meta::type_name("entry_account"), x.existing, x.read, x.not_routed, x.not_selected,
           x.evicted, x.lost);
}

/// Consecutive tokens of one sequence and the rows that hold them in the client's buffers.
struct work_part {
  sequence_id sequence{};
  std::uint32_t position = 0;
  std::uint32_t tokens = 0;
  std::uint32_t row_begin = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, work_part& x) {
  return f(caf::meta::type_name("work_part"), x.sequence, x.position, x.tokens, x.row_begin);
}

/// One call of the public face, for the sequences of one lane.
struct client_request {
  request_kind kind = request_kind::open;
  ticket_id ticket{};
  std::uint32_t layer = 0;
  std::vector<work_part> parts; ///< open, close, pin, usage: sequences only; fork: parent, child
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, client_request& x) {
  return f(caf::meta::type_name("client_request"), x.kind, x.ticket, x.layer, x.parts);
}

} // namespace pikv
