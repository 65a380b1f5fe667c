// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the actors of one cache share: devices with their streams, the requests in flight, the
/// configurations, and where to find each other. Made before the first actor, destroyed after the
/// last: streams and arenas therefore outlive any actor that uses them, and a restarted shard owner
/// goes on with the streams of its predecessor.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include <pikv/actors/open_sequences.hpp>
#include <pikv/actors/policy_set.hpp>
#include <pikv/actors/request_table.hpp>
#include <pikv/actors/shard_map.hpp>
#include <pikv/gpu/device.hpp>
#include <pikv/gpu/transport/page_mover.hpp>
#include <pikv/messages/actors.hpp>
#include <pikv/monitoring/metrics.hpp>

namespace pikv {

/// Current handles. An incarnation counts the starts of an actor; whoever remembers an older one
/// knows that the state behind it is gone. Thread-safe.
template <class Handle>
class directory {
public:
  struct entry {
    Handle handle;
    std::uint64_t incarnation = 0;
  };

  explicit directory(std::size_t n) : entries_(n) {}
  std::size_t size() const noexcept { return entries_.size(); }

  entry get(std::size_t i) const {
    std::lock_guard guard{mutex_};
    return entries_[i];
  }
  /// Returns the new incarnation.
  std::uint64_t set(std::size_t i, Handle h) {
    std::lock_guard guard{mutex_};
    entries_[i].handle = std::move(h);
    return ++entries_[i].incarnation;
  }
  void clear() {
    std::lock_guard guard{mutex_};
    for (auto& x : entries_)
      x.handle = Handle{};
  }

private:
  mutable std::mutex mutex_;
  std::vector<entry> entries_;
};

/// One logical device and its streams.
struct device_entry {
  std::shared_ptr<gpu::device> device;
  std::unique_ptr<gpu::stream> compute; ///< append, summaries, scores, attention
  std::unique_ptr<gpu::stream> codec;
  std::unique_ptr<gpu::stream> copy;
};

/// A lane as the public face sees it.
struct lane_entry {
  std::unique_ptr<gpu::stream> stream; ///< selection and merging; on device lane % devices
  std::atomic<std::uint32_t> in_flight{0};
  std::atomic<std::uint64_t> overloaded{0};      ///< requests refused; its router's tick takes them
  std::atomic<std::uint64_t> deadline_missed{0}; ///< requests that ended so; as above
  std::atomic<std::uint64_t> lost_before{0}; ///< sequences below that its router does not know died
};

struct cache_context {
  cache_context(std::uint32_t device_count, std::uint32_t lane_count)
      : lanes(lane_count), routers(lane_count), owners(device_count), compressors(device_count),
        transfer(1), scheduler(1) {}

  config::settings settings; ///< as started: what only a restart changes
  model_shape shape;
  gpu::cache_dims dims;
  form raw = form::f16;
  float scale = 1; ///< 1 / sqrt(head_dim)

  std::vector<device_entry> devices;
  gpu::transport::page_movers movers; ///< of the transfer actor; before the streams they use
  std::vector<lane_entry> lanes;
  request_table requests;
  policy_store policies;
  shard_map shards;
  std::shared_ptr<monitoring::metrics> metrics;
  std::atomic<std::uint64_t> sequences{0};
  open_sequences open;
  std::atomic<std::uint64_t> next_sequence{1};
  std::atomic<std::uint64_t> turns{0}; ///< residues of new sequences
  std::atomic<std::uint64_t> restarts{0};
  std::atomic<bool> stopped{false};
  std::shared_mutex gate; ///< shared by every call of the public face; taken alone by stop
  std::mutex batches;     ///< held while an append is handed to several lanes: one order for all

  directory<router_actor> routers;
  directory<shard_owner_actor> owners;
  directory<compressor_actor> compressors;
  directory<transfer_actor> transfer;
  directory<scheduler_actor> scheduler;

  /// The block that a message names, shared.
  result<gpu::block> share(const buffer_ref& x) const {
    auto& device = *devices[x.device.value].device;
    return (x.arena == arena_kind::memory    ? device.memory()
            : x.arena == arena_kind::scratch ? device.scratch()
                                             : device.exchange())
        .share(x);
  }

  /// Ids never repeat. A sequence's lane and home device are written into its id: a fork takes the
  /// residue of its parent, new sequences take turns.
  sequence_id new_sequence(std::uint64_t residue) noexcept {
    const auto n = lanes.size() * devices.size();
    return {next_sequence.fetch_add(1) * n + residue % n};
  }
  std::uint64_t first_unused_sequence() const noexcept {
    return next_sequence.load() * lanes.size() * devices.size();
  }

  /// True for ids that new_sequence handed out.
  bool was_issued(sequence_id x) const noexcept {
    return x.value >= lanes.size() * devices.size() && x.value < first_unused_sequence();
  }

  /// A sequence stays in its lane and its windows on its home device.
  lane_id lane_of(sequence_id x) const noexcept {
    return {static_cast<std::uint32_t>(x.value % lanes.size())};
  }
  device_id home_of(sequence_id x) const noexcept {
    return {static_cast<std::uint32_t>(x.value / lanes.size() % devices.size())};
  }
};

using context_ptr = std::shared_ptr<cache_context>;

} // namespace pikv
