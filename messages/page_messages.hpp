// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pages on the move: shard owner to compressor, to transfer, and to the owner of another device.
#pragma once

#include <cstdint>
#include <vector>

#include <pikv/messages/client_messages.hpp>

namespace pikv {

/// A settled page by reference.
struct page_record_ref {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  std::uint32_t page = 0;
  std::uint32_t first_position = 0;
  std::uint32_t tokens = 0;
  shard_id shard{};
  form stored = form::f16;
  std::uint8_t summary_parts = 0;
  buffer_ref data;
  buffer_ref summary;
  bool resettled = false; ///< it had settled before and only changes its device
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, page_record_ref& x) {
  return f(caf::meta::type_name("page_record_ref"), x.sequence, x.layer, x.page, x.first_position,
           x.tokens, x.shard, x.stored, x.summary_parts, x.data, x.summary, x.resettled);
}

/// Owner to compressor: encode raw pages into blocks that the owner allocated.
struct encode_work {
  form target = form::int8;
  std::vector<page_record_ref> pages; ///< raw
  std::vector<buffer_ref> out;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, encode_work& x) {
  return f(caf::meta::type_name("encode_work"), x.target, x.pages, x.out);
}

struct encode_done {
  std::vector<std::uint8_t> representable; ///< 0: the page cannot be stored in that form; keep it
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, encode_done& x) {
  return f(caf::meta::type_name("encode_done"), x.representable);
}

/// Owner to transfer: copy pages to another device, verify them there and hand them to its owner.
struct move_work {
  device_id target{};
  std::vector<page_record_ref> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, move_work& x) {
  return f(caf::meta::type_name("move_work"), x.target, x.pages);
}

/// They have been adopted by this incarnation of the target's owner.
struct move_done {
  std::uint64_t incarnation = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, move_done& x) {
  return f(caf::meta::type_name("move_done"), x.incarnation);
}

/// Transfer to owner: pages that have arrived and been verified.
struct adopt_work {
  std::vector<page_record_ref> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, adopt_work& x) {
  return f(caf::meta::type_name("adopt_work"), x.pages);
}

} // namespace pikv
