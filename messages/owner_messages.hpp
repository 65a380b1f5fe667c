// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a router asks of a shard owner, and what it hears back; attends are in attend_messages.hpp.
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
  bool raw = false; ///< the pages as they are instead of their summaries
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, describe_work& x) {
  return f(caf::meta::type_name("describe_work"), x.layer, x.pages, x.out, x.raw);
}

/// A full window page whose entries go to the open pages of their shards.
struct scatter_part {
  sequence_id sequence{};
  std::uint32_t page = 0;
  std::uint32_t sealed_known = 0;    ///< pages of this sequence that the router knows as sealed
  std::vector<std::uint16_t> shards; ///< `[page_tokens]`, by slot; empty: only say what is sealed
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, scatter_part& x) {
  return f(caf::meta::type_name("scatter_part"), x.sequence, x.page, x.sealed_known, x.shards);
}

/// Move the entries of window pages into the open pages of their shards, which stay in the window.
/// A page that gets full is sealed: numbered in the order of its sequence and layer, it waits in
/// the window for its settle_order. Pages of a sequence come in ascending order; each is moved
/// whole or, where memory ends, left with all behind it.
struct scatter_work {
  std::uint32_t layer = 0;
  std::vector<scatter_part> parts;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, scatter_work& x) {
  return f(caf::meta::type_name("scatter_work"), x.layer, x.parts);
}

struct scatter_done {
  std::vector<settle_order> moved;  ///< sequence and page only; pages moved before count too
  std::vector<settle_order> sealed; ///< sequence, number and shard, ascending from sealed_known
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, scatter_done& x) {
  return f(caf::meta::type_name("scatter_done"), x.moved, x.sealed);
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
