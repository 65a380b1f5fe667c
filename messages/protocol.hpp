// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the actors say to each other. Messages carry ids and buffer references only: K, V, Q and
/// outputs stay where they are, and every message can be serialised. A client's buffers are named by
/// the ticket of its request (actors/request_table.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/meta/type_name.hpp>
#include <caf/type_id.hpp>
#include <caf/typed_actor.hpp>

#include <pikv/messages/buffer_ref.hpp>
#include <pikv/messages/error.hpp>
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

// -- client to router -----------------------------------------------------------------------------

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

// -- router to shard owner ------------------------------------------------------------------------

/// Write the rows into the windows of their sequences. All or nothing.
struct append_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, append_work& x) {
  return f(caf::meta::type_name("append_work"), x.ticket, x.layer, x.parts);
}

/// Take back appended tokens that have not settled: the same batch failed on another device. On a
/// device that is not their home: drop the pages that begin at these positions, because their move
/// was given up and the home keeps them.
struct truncate_work {
  std::uint32_t layer = 0;
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, truncate_work& x) {
  return f(caf::meta::type_name("truncate_work"), x.layer, x.parts);
}

/// Where a window page goes and in which form.
struct settle_order {
  sequence_id sequence{};
  std::uint32_t page = 0;
  shard_id shard{};
  device_id device{};
  form stored = form::f16;
  std::uint64_t incarnation = 0; ///< in replies: of the owner that has the page now
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settle_order& x) {
  return f(caf::meta::type_name("settle_order"), x.sequence, x.page, x.shard, x.device, x.stored,
           x.incarnation);
}

struct settle_work {
  std::uint32_t layer = 0;
  std::uint8_t summary_parts = 0; ///< gpu::summary_part bits
  std::vector<settle_order> orders;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settle_work& x) {
  return f(caf::meta::type_name("settle_work"), x.layer, x.summary_parts, x.orders);
}

/// What became of the orders: the device and form may differ (a failed transfer or encoding leaves
/// the page where and as it was).
struct settle_done {
  std::vector<settle_order> settled;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settle_done& x) {
  return f(caf::meta::type_name("settle_done"), x.settled);
}

/// Score settled pages for every row and lease them until the attend of the same ticket.
struct survey_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  std::uint8_t scores = 0; ///< bits: 1 << score_kind
  std::uint8_t summary_parts = 0;
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, survey_work& x) {
  return f(caf::meta::type_name("survey_work"), x.ticket, x.layer, x.scores, x.summary_parts,
           x.parts);
}

/// `pages[i]`: settled pages of part i, evicted ones included. `facts`: `surveyed_page` records of
/// all parts back to back. Scores: f32 `[row, query head, page]` per part, back to back.
struct survey_done {
  std::vector<std::uint32_t> pages;
  buffer_ref facts;
  buffer_ref mass;
  buffer_ref quest;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, survey_done& x) {
  return f(caf::meta::type_name("survey_done"), x.pages, x.facts, x.mass, x.quest);
}

/// One settled page in a survey. tokens is negative for an evicted page of that many tokens.
struct surveyed_page {
  std::uint32_t first_position = 0;
  std::int32_t tokens = 0;
  std::uint32_t shard = 0;
  std::uint32_t page = 0;
};

/// The pages that each row reads on one device: scopes, then offsets, pages, always_from
/// (gpu::page_selection) back to back as u32. A zero `bytes` means all pages.
struct attend_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  bool direct = false;  ///< write the client's output; else leave a partial
  bool surveyed = false; ///< use the pages leased by the survey of this ticket
  bool page_mass = false; ///< also return the log mass of each page
  std::uint32_t rows = 0; ///< rows of the client's buffers
  std::uint32_t scopes = 1;
  buffer_ref selection;
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attend_work& x) {
  return f(caf::meta::type_name("attend_work"), x.ticket, x.layer, x.direct, x.surveyed,
           x.page_mass, x.rows, x.scopes, x.selection, x.parts);
}

struct attend_done {
  std::uint64_t read = 0;    ///< (row, KV head, entry) triples
  std::uint64_t evicted = 0; ///< the same, of pages this owner dropped; 0 when surveyed
  buffer_ref out;            ///< f32 `[rows, query heads, head dim]`; empty when direct
  buffer_ref lse;            ///< f32 `[rows, query heads]`; empty when direct
  buffer_ref page_lse;       ///< as survey_done's scores; empty unless asked for
  buffer_ref facts;          ///< with page_lse: the pages of all parts
  std::vector<std::uint32_t> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attend_done& x) {
  return f(caf::meta::type_name("attend_done"), x.read, x.evicted, x.out, x.lse, x.page_lse, x.facts,
           x.pages);
}

/// Let go of what a survey or an attend of this ticket left behind.
struct release_work {
  ticket_id ticket{};
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, release_work& x) {
  return f(caf::meta::type_name("release_work"), x.ticket);
}

enum class sequence_verb : std::uint8_t { open, fork, close, pin, unpin };

struct sequence_work {
  sequence_verb verb = sequence_verb::open;
  sequence_id sequence{};
  sequence_id child{}; ///< fork only
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, sequence_work& x) {
  return f(caf::meta::type_name("sequence_work"), x.verb, x.sequence, x.child);
}

struct owner_usage {
  std::uint64_t sequences = 0;
  std::uint64_t entries = 0;
  std::uint64_t pages_window = 0;
  std::uint64_t pages_settled = 0;
  std::uint64_t pages_evicted = 0;
  std::uint64_t page_bytes = 0;
  std::uint64_t summary_bytes = 0;
  std::uint64_t table_bytes = 0;
  std::uint64_t reserved_bytes = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, owner_usage& x) {
  return f(caf::meta::type_name("owner_usage"), x.sequences, x.entries, x.pages_window,
           x.pages_settled, x.pages_evicted, x.page_bytes, x.summary_bytes, x.table_bytes,
           x.reserved_bytes);
}

// -- pages on the move ----------------------------------------------------------------------------

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
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, page_record_ref& x) {
  return f(caf::meta::type_name("page_record_ref"), x.sequence, x.layer, x.page, x.first_position,
           x.tokens, x.shard, x.stored, x.summary_parts, x.data, x.summary);
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

// -- scheduler ------------------------------------------------------------------------------------

/// Router to scheduler: pages that settled, and how long the (sequence, layer) is now.
struct settled_event {
  std::uint64_t config_version = 0;
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::uint64_t entries = 0; ///< tokens appended to the layer
  std::vector<settle_order> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settled_event& x) {
  return f(caf::meta::type_name("settled_event"), x.config_version, x.layer, x.sequence, x.entries,
           x.pages);
}

struct page_use {
  std::uint32_t page = 0;
  std::uint32_t reads = 0;
  float mass = 0; ///< sum over rows, mean over query heads
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, page_use& x) {
  return f(caf::meta::type_name("page_use"), x.page, x.reads, x.mass);
}

/// Router to scheduler: one attend has read these pages.
struct attended_event {
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::uint32_t rows = 0;
  std::vector<page_use> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attended_event& x) {
  return f(caf::meta::type_name("attended_event"), x.layer, x.sequence, x.rows, x.pages);
}

/// Owner to scheduler: the device needs this much room; answered when pages were evicted.
struct reclaim_work {
  device_id device{};
  std::uint64_t bytes = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reclaim_work& x) {
  return f(caf::meta::type_name("reclaim_work"), x.device, x.bytes);
}

struct reclaim_done {
  std::uint64_t pages = 0; ///< evicted
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reclaim_done& x) {
  return f(caf::meta::type_name("reclaim_done"), x.pages);
}

/// Scheduler to owner: drop these pages.
struct evict_work {
  evict_reason reason = evict_reason::budget;
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::vector<std::uint32_t> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, evict_work& x) {
  return f(caf::meta::type_name("evict_work"), x.reason, x.layer, x.sequence, x.pages);
}

// -- everyone -------------------------------------------------------------------------------------

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
enum class reload_source : std::uint8_t { file, text };

struct reload_work {
  ticket_id ticket{}; ///< whom to tell (config_state); 0: nobody asked, the file changed
  reload_source source = reload_source::file;
  std::string text; ///< YAML, for `text`
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reload_work& x) {
  return f(caf::meta::type_name("reload_work"), x.ticket, x.source, x.text);
}

} // namespace pikv

CAF_BEGIN_TYPE_ID_BLOCK(pikv, first_custom_type_id)
  CAF_ADD_TYPE_ID(pikv, (pikv::buffer_ref))
  CAF_ADD_TYPE_ID(pikv, (pikv::work_part))
  CAF_ADD_TYPE_ID(pikv, (pikv::client_request))
  CAF_ADD_TYPE_ID(pikv, (pikv::append_work))
  CAF_ADD_TYPE_ID(pikv, (pikv::truncate_work))
  CAF_ADD_TYPE_ID(pikv, (pikv::settle_order))
  CAF_ADD_TYPE_ID(pikv, (pikv::settle_work))
  CAF_ADD_TYPE_ID(pikv, (pikv::settle_done))
  CAF_ADD_TYPE_ID(pikv, (pikv::survey_work))
  CAF_ADD_TYPE_ID(pikv, (pikv::survey_done))
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
  CAF_ADD_ATOM(pikv, pikv, tick_atom, "tick")
  CAF_ADD_ATOM(pikv, pikv, decided_atom, "decided")
  CAF_ADD_ATOM(pikv, pikv, usage_atom, "usage")
  CAF_ADD_ATOM(pikv, pikv, drop_lane_atom, "dropLane")
  CAF_ADD_ATOM(pikv, pikv, forget_atom, "forget")
  CAF_ADD_ATOM(pikv, pikv, announce_atom, "announce")
  CAF_ADD_ATOM(pikv, pikv, crash_atom, "crash")
CAF_END_TYPE_ID_BLOCK(pikv)
