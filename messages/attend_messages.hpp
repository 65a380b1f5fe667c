// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a router asks of the shard owners of an attend, and what it hears back: surveys where the
/// router chooses what is read, shared pages where the owners do, then partials.
#pragma once

#include <cstdint>
#include <vector>

#include <pikv/messages/choice.hpp>
#include <pikv/messages/client_messages.hpp>

namespace pikv {

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

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, gather_place& x) {
  return f(caf::meta::type_name("gather_place"), x.begin, x.capacity, x.pages);
}

/// What one owner knows of a choice that several owners make together, each for itself
/// (gpu/gather.hpp). Without places it is not one.
struct gathering {
  std::vector<gather_place> places; ///< of this owner's pages, one per part
  std::vector<buffer_ref> areas;    ///< one on each GPU of the owners, laid out alike
  std::uint32_t own_area = 0;       ///< index of the one on this owner's GPU
  bool leads = false;               ///< counts what all owners read, the others only what is theirs

  explicit operator bool() const noexcept { return !places.empty(); }
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, gathering& x) {
  return f(caf::meta::type_name("gathering"), x.places, x.areas, x.own_area, x.leads);
}

/// Show the other owners of an attend this device's pages and scores, and lease the pages until the
/// attend of the same ticket. Answered once the work is in the device's stream, an event behind it in
/// the request's device_order.
struct share_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  std::vector<work_part> parts;
  gathering gather;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, share_work& x) {
  return f(caf::meta::type_name("share_work"), x.ticket, x.layer, x.parts, x.gather);
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

/// Read what `selection` says; or, with `chooses`, what the request's policies choose: among the
/// pages of this device, which then holds all settled pages of the parts, or among those that it
/// and others have shared before (`gather`).
/// `selection`: the pages that each row reads on one device: scopes, then offsets, pages,
/// always_from (gpu::page_selection) back to back as u32. A zero `bytes` means all pages.
struct attend_work {
  ticket_id ticket{};
  std::uint32_t layer = 0;
  bool direct = false;   ///< write the client's output; else leave a partial
  bool surveyed = false; ///< the router has chosen from a survey, which leased the pages
  bool chooses = false;
  bool page_mass = false; ///< also return the log mass of each page
  std::uint32_t rows = 0; ///< rows of the client's buffers
  std::uint32_t scopes = 1;
  buffer_ref selection;
  buffer_ref gates;   ///< with `chooses`: known_gates of the batch (actors/choice); empty: none
  shard_facts shards; ///< with `chooses`
  gathering gather;   ///< with `chooses`
  device_id merges{}; ///< unless direct: the device on which the partial will be read
  std::vector<work_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attend_work& x) {
  return f(caf::meta::type_name("attend_work"), x.ticket, x.layer, x.direct, x.surveyed, x.chooses,
           x.page_mass, x.rows, x.scopes, x.selection, x.gates, x.shards, x.gather, x.merges,
           x.parts);
}

/// Where the partial of an attend under way will be. Answered once the attention is in the device's
/// stream, an event behind it in the request's device_order.
struct partial_work {
  ticket_id ticket{};
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, partial_work& x) {
  return f(caf::meta::type_name("partial_work"), x.ticket);
}

/// As attend_done's.
struct partial_place {
  buffer_ref out;
  buffer_ref lse;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, partial_place& x) {
  return f(caf::meta::type_name("partial_place"), x.out, x.lse);
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
  // With `chooses`: the rest of the account, and for the scheduler what was read of each part. The
  // account of several owners is the sum, modulo 2^64: one of them counts what all have read.
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

} // namespace pikv
