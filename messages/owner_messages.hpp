// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a router asks of a shard owner, and what it hears back.
#pragma once

#include <cstdint>
#include <vector>

#include <pikv/messages/client_messages.hpp>
#include <pikv/messages/key_facts.hpp>

namespace pikv {

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

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, key_facts& x) {
  return f(caf::meta::type_name("key_facts"), x.known, x.norm, x.likeness, x.reach);
}

/// Where a window page goes and in which form.
struct settle_order {
  sequence_id sequence{};
  std::uint32_t page = 0;
  shard_id shard{};
  device_id device{};
  form stored = form::f16;
  std::uint64_t incarnation = 0; ///< in replies: of the owner that has the page now
  key_facts keys = {};           ///< in replies: as far as settle_work::key_facts_wanted asks
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settle_order& x) {
  return f(caf::meta::type_name("settle_order"), x.sequence, x.page, x.shard, x.device, x.stored,
           x.incarnation, x.keys);
}

/// Say what the keys of window pages are like, before they settle: the summaries (mean and
/// variance, gpu::summary_layout) of pages[i] into `out`, memory that the router holds, one after
/// another. Pages that are not there leave it as it is.
struct describe_work {
  std::uint32_t layer = 0;
  std::vector<settle_order> pages; ///< sequence and page only
  buffer_ref out;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, describe_work& x) {
  return f(caf::meta::type_name("describe_work"), x.layer, x.pages, x.out);
}

struct settle_work {
  std::uint32_t layer = 0;
  std::uint8_t summary_parts = 0; ///< gpu::summary_part bits
  std::uint8_t key_facts_wanted = 0; ///< key_fact bits; summary_parts has what they come from
  std::vector<settle_order> orders;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settle_work& x) {
  return f(caf::meta::type_name("settle_work"), x.layer, x.summary_parts, x.key_facts_wanted,
           x.orders);
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

/// Give settled pages to another device. Nothing reads them meanwhile. What has moved is in the
/// answer (settle_done); pages that are evicted or could not move stay.
struct migrate_work {
  std::uint32_t layer = 0;
  sequence_id sequence{};
  device_id target{};
  std::vector<std::uint32_t> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, migrate_work& x) {
  return f(caf::meta::type_name("migrate_work"), x.layer, x.sequence, x.target, x.pages);
}

/// Forget settled pages, if they are there: their move was given up and another device keeps them.
struct drop_work {
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::vector<std::uint32_t> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, drop_work& x) {
  return f(caf::meta::type_name("drop_work"), x.layer, x.sequence, x.pages);
}

/// Score settled pages for every row and lease them until the attend of the same ticket.
struct survey_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  std::uint32_t rows = 0;  ///< of the client's buffers
  bool always = false;     ///< also say how much mass lies in what rows read in any case
  std::uint8_t scores = 0; ///< bits: 1 << score_kind
  std::uint8_t summary_parts = 0;
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, survey_work& x) {
  return f(caf::meta::type_name("survey_work"), x.ticket, x.layer, x.rows, x.always, x.scores,
           x.summary_parts, x.parts);
}

/// `pages[i]`: settled pages of part i, evicted ones included. `facts`: `surveyed_page` records of
/// all parts back to back. Scores: f32 `[row, query head, page]` per part, back to back. `always`:
/// f32 `[rows of the batch, query heads]`, log of the sum of exp(logit) over this device's part of
/// what each row reads in any case; -inf for rows of other devices; empty unless asked for.
struct survey_done {
  std::vector<std::uint32_t> pages;
  buffer_ref facts;
  buffer_ref mass;
  buffer_ref quest;
  buffer_ref always;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, survey_done& x) {
  return f(caf::meta::type_name("survey_done"), x.pages, x.facts, x.mass, x.quest, x.always);
}

/// One settled page in a survey. tokens is negative for an evicted page of that many tokens.
struct surveyed_page {
  std::uint32_t first_position = 0;
  std::int32_t tokens = 0;
  std::uint32_t shard = 0;
  std::uint32_t page = 0;
};

/// What a lane knows of its shards when it routes, as policies::route_query; lists that no policy
/// asked for are empty.
struct shard_facts {
  std::vector<float> load;
  std::vector<float> misses;
  double coverage = 0; ///< to reach, instead of what policies say; 0: nothing is set
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, shard_facts& x) {
  return f(caf::meta::type_name("shard_facts"), x.load, x.misses, x.coverage);
}

/// What the rows of one attend read of a shard.
struct shard_use {
  std::uint32_t shard = 0;
  double read = 0; ///< (row, KV head, entry) triples of old pages
  double gone = 0; ///< pages that rows had in their route and that are evicted
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, shard_use& x) {
  return f(caf::meta::type_name("shard_use"), x.shard, x.read, x.gone);
}

/// Read what `selection` says; or, with `chooses`, what the request's policies choose among the
/// pages of this device, which then holds all settled pages of the parts.
/// `selection`: the pages that each row reads on one device: scopes, then offsets, pages,
/// always_from (gpu::page_selection) back to back as u32. A zero `bytes` means all pages.
struct attend_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  bool direct = false;   ///< write the client's output; else leave a partial
  bool surveyed = false; ///< use the pages leased by the survey of this ticket
  bool chooses = false;
  bool page_mass = false; ///< also return the log mass of each page
  std::uint32_t rows = 0; ///< rows of the client's buffers
  std::uint32_t scopes = 1;
  buffer_ref selection;
  buffer_ref gates;   ///< with `chooses`: known_gates of the batch (actors/choice); empty: none
  shard_facts shards; ///< with `chooses`
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attend_work& x) {
  return f(caf::meta::type_name("attend_work"), x.ticket, x.layer, x.direct, x.surveyed, x.chooses,
           x.page_mass, x.rows, x.scopes, x.selection, x.gates, x.shards, x.parts);
}

/// How much one page of a (sequence, layer) was read.
struct page_use {
  std::uint32_t page = 0;
  std::uint32_t reads = 0;
  float mass = 0; ///< sum over rows, mean over query heads
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, page_use& x) {
  return f(caf::meta::type_name("page_use"), x.page, x.reads, x.mass);
}

struct attend_done {
  std::uint64_t read = 0;    ///< (row, KV head, entry) triples
  std::uint64_t evicted = 0; ///< the same, of pages this owner dropped; 0 when surveyed
  buffer_ref out;            ///< f32 `[rows, query heads, head dim]`; empty when direct
  buffer_ref lse;            ///< f32 `[rows, query heads]`; empty when direct
  buffer_ref page_lse;       ///< as survey_done's scores; empty unless asked for
  buffer_ref facts;          ///< with page_lse: the pages of all parts
  std::vector<std::uint32_t> pages;
  // With `chooses`: the rest of the account, and for the scheduler what was read of each part.
  std::uint64_t not_routed = 0;
  std::uint64_t not_selected = 0;
  double routed_shards = 0; ///< sum over rows
  std::vector<std::vector<page_use>> uses;
  std::vector<shard_use> shards; ///< where policies count them
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attend_done& x) {
  return f(caf::meta::type_name("attend_done"), x.read, x.evicted, x.out, x.lse, x.page_lse,
           x.facts, x.pages, x.not_routed, x.not_selected, x.routed_shards, x.uses, x.shards);
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
  std::uint64_t table_copy_bytes = 0; ///< of those: in the device's memory
  std::uint64_t reserved_bytes = 0;
  std::uint64_t used_bytes = 0; ///< of those: without free slots of started slabs
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, owner_usage& x) {
  return f(caf::meta::type_name("owner_usage"), x.sequences, x.entries, x.pages_window,
           x.pages_settled, x.pages_evicted, x.page_bytes, x.summary_bytes, x.table_bytes,
           x.table_copy_bytes, x.reserved_bytes, x.used_bytes);
}

} // namespace pikv
