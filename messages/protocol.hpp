// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the actors say to each other. Messages carry ids and buffer references only: K, V, Q and
/// outputs stay where they are, and every message can be serialised. A client's buffers are named
/// by the ticket of its request (actors/request_table.hpp).
#pragma once

#include <cstdint>
#include <string>

#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/type_id.hpp>
#include <caf/typed_actor.hpp>

#include <pikv/messages/attend_messages.hpp>
#include <pikv/messages/client_messages.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/owner_messages.hpp>
#include <pikv/messages/page_messages.hpp>
#include <pikv/messages/scheduler_messages.hpp>

namespace pikv {

/// A stream has finished a task that the actor enqueued under this number.
struct stream_done {
  std::uint64_t job = 0;
  errc code = errc::ok;
  std::string what;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, stream_done& x) {
  return f(caf::meta::type_name("stream_done"), x.job, x.code, x.what);
}

/// Where a new configuration comes from.
enum class reload_source : std::uint8_t { file, text, previous };

struct reload_work {
  ticket_id ticket{}; ///< whom to tell (config_state); 0: nobody asked, the file changed
  reload_source source = reload_source::file;
  std::string text; ///< YAML, for `text`
  std::string who;  ///< asked for it, for the history
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reload_work& x) {
  return f(caf::meta::type_name("reload_work"), x.ticket, x.source, x.text, x.who);
}

} // namespace pikv

CAF_BEGIN_TYPE_ID_BLOCK(pikv, first_custom_type_id)
CAF_ADD_TYPE_ID(pikv, (pikv::buffer_ref))
CAF_ADD_TYPE_ID(pikv, (pikv::work_part))
CAF_ADD_TYPE_ID(pikv, (pikv::client_request))
CAF_ADD_TYPE_ID(pikv, (pikv::append_work))
CAF_ADD_TYPE_ID(pikv, (pikv::truncate_work))
CAF_ADD_TYPE_ID(pikv, (pikv::key_facts))
CAF_ADD_TYPE_ID(pikv, (pikv::settle_order))
CAF_ADD_TYPE_ID(pikv, (pikv::describe_work))
CAF_ADD_TYPE_ID(pikv, (pikv::scatter_part))
CAF_ADD_TYPE_ID(pikv, (pikv::scatter_work))
CAF_ADD_TYPE_ID(pikv, (pikv::scatter_done))
CAF_ADD_TYPE_ID(pikv, (pikv::settle_work))
CAF_ADD_TYPE_ID(pikv, (pikv::settle_done))
CAF_ADD_TYPE_ID(pikv, (pikv::migrate_work))
CAF_ADD_TYPE_ID(pikv, (pikv::drop_work))
CAF_ADD_TYPE_ID(pikv, (pikv::survey_work))
CAF_ADD_TYPE_ID(pikv, (pikv::survey_done))
CAF_ADD_TYPE_ID(pikv, (pikv::shard_facts))
CAF_ADD_TYPE_ID(pikv, (pikv::shard_use))
CAF_ADD_TYPE_ID(pikv, (pikv::gather_place))
CAF_ADD_TYPE_ID(pikv, (pikv::gathering))
CAF_ADD_TYPE_ID(pikv, (pikv::share_work))
CAF_ADD_TYPE_ID(pikv, (pikv::partial_work))
CAF_ADD_TYPE_ID(pikv, (pikv::partial_place))
CAF_ADD_TYPE_ID(pikv, (pikv::attend_work))
CAF_ADD_TYPE_ID(pikv, (pikv::attend_done))
CAF_ADD_TYPE_ID(pikv, (pikv::release_work))
CAF_ADD_TYPE_ID(pikv, (pikv::sequence_work))
CAF_ADD_TYPE_ID(pikv, (pikv::owner_usage))
CAF_ADD_TYPE_ID(pikv, (pikv::page_record_ref))
CAF_ADD_TYPE_ID(pikv, (pikv::encode_work))
CAF_ADD_TYPE_ID(pikv, (pikv::encode_done))
CAF_ADD_TYPE_ID(pikv, (pikv::move_work))
CAF_ADD_TYPE_ID(pikv, (pikv::move_done))
CAF_ADD_TYPE_ID(pikv, (pikv::adopt_work))
CAF_ADD_TYPE_ID(pikv, (pikv::settled_event))
CAF_ADD_TYPE_ID(pikv, (pikv::page_use))
CAF_ADD_TYPE_ID(pikv, (pikv::attended_event))
CAF_ADD_TYPE_ID(pikv, (pikv::reclaim_work))
CAF_ADD_TYPE_ID(pikv, (pikv::reclaim_done))
CAF_ADD_TYPE_ID(pikv, (pikv::evict_work))
CAF_ADD_TYPE_ID(pikv, (pikv::stream_done))
CAF_ADD_TYPE_ID(pikv, (pikv::reload_work))

CAF_ADD_ATOM(pikv, pikv, ack_atom, "ack")
CAF_ADD_ATOM(pikv, pikv, enqueued_atom, "enqueued")
CAF_ADD_ATOM(pikv, pikv, tick_atom, "tick")
CAF_ADD_ATOM(pikv, pikv, decided_atom, "decided")
CAF_ADD_ATOM(pikv, pikv, usage_atom, "usage")
CAF_ADD_ATOM(pikv, pikv, drop_lane_atom, "dropLane")
CAF_ADD_ATOM(pikv, pikv, forget_atom, "forget")
CAF_ADD_ATOM(pikv, pikv, announce_atom, "announce")
CAF_ADD_ATOM(pikv, pikv, crash_atom, "crash")
CAF_END_TYPE_ID_BLOCK(pikv)
