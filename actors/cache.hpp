// SPDX-License-Identifier: Apache-2.0
/// \file
/// The public face of a KV cache: open sequences, append K and V, annotate with the gate, attend.
///
/// Threads: any thread may call anything. Order: calls that one thread makes for one sequence take
/// effect in that order; an attend sees every append made before it and none made after.
/// Nothing blocks and nothing throws: each call hands back a `completion`, bad input ends it at
/// once with a typed error, and every request ends within its deadline.
/// Buffers belong to the caller and must stay valid until the completion of the call is ready.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/actors/completion.hpp>
#include <pikv/actors/tensor.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

/// Consecutive tokens of one sequence inside a batch. Token i has position `position + i`; batches
/// list their parts in the order of the buffer's rows. A sequence appears at most once in a batch.
struct batch_part {
  sequence_id sequence{};
  std::uint32_t position = 0;
  std::uint32_t tokens = 0;
};

struct append_options {
  std::chrono::nanoseconds deadline{0}; ///< 0: limits.deadline of the configuration
  void* stream = nullptr;               ///< as attend_options::stream, for k and v
};

struct append_report {
  std::uint64_t entries = 0;        ///< tokens appended in this layer
  std::uint64_t config_version = 0; ///< the configuration that this request ran under
};

struct annotate_report {
  std::uint64_t config_version = 0;
};

struct attend_report {
  entry_account entries;            ///< where the entries of the batch went; adds up
  double routed_shards = 0;         ///< mean shards in a row's route
  std::uint64_t config_version = 0; ///< the configuration that this request ran under
};

struct attend_options {
  std::chrono::nanoseconds deadline{0}; ///< 0: limits.deadline of the configuration
  bool exact = false;      ///< read everything that is kept, whatever routing and selection say
  bool allow_lost = false; ///< read on when pages were lost with a failed device
  /// Null: q can be read and out be written at once. Else a CUDA stream (cudaStream_t, on the calling
  /// thread's current device): PiKV's GPU work comes behind what it has been given so far, and
  /// `completion::enqueue_wait` puts its later work behind this call. Backend cuda only.
  void* stream = nullptr;
  /// Null, or f32 `[rows, query_heads]`: log of the sum of exp(logit) over what was read.
  std::span<float> lse{};
};

/// What one logical device holds of a cache at this moment, measured. The window and the sinks of a
/// sequence are pages of its home device; settled pages are where placement put them.
struct device_usage {
  device_id device{};
  std::uint64_t sequences = 0;    ///< whose home this is
  std::uint64_t pages_window = 0; ///< raw pages in windows
  std::uint64_t pages_settled = 0;
  std::uint64_t page_bytes = 0; ///< pages in whatever form, scales included
  std::uint64_t summary_bytes = 0;
  std::uint64_t table_bytes = 0; ///< page tables and sequence records, copies for kernels included
  std::uint64_t table_copy_bytes = 0; ///< of those: the copies, which lie beside the pages
  std::uint64_t overhead_bytes = 0;   ///< rounding and free slots of started slabs
  std::uint64_t free_bytes = 0;       ///< of those: the free slots, which later pages take
  std::uint64_t reserved_bytes = 0;   ///< of devices.memory: all of the above but tables of the host
  std::uint64_t total_bytes() const noexcept {
    return page_bytes + summary_bytes + table_bytes + overhead_bytes;
  }
};

/// What a cache holds at this moment, measured. Each sum is that of its devices.
struct cache_usage {
  std::uint64_t sequences = 0;
  std::uint64_t entries = 0;      ///< tokens x layers appended in open sequences
  std::uint64_t pages_window = 0; ///< raw pages in windows
  std::uint64_t pages_settled = 0;
  std::uint64_t pages_evicted = 0;
  std::uint64_t page_bytes = 0; ///< pages in whatever form, scales included
  std::uint64_t summary_bytes = 0;
  std::uint64_t table_bytes = 0;    ///< page tables and sequence records
  std::uint64_t overhead_bytes = 0; ///< rounding and free slots of started slabs
  std::vector<device_usage> devices; ///< by device id
  std::uint64_t total_bytes() const noexcept {
    return page_bytes + summary_bytes + table_bytes + overhead_bytes;
  }
};

/// A model's KV cache inside a runtime. A handle: copies name the same cache.
class cache {
public:
  class impl;
  explicit cache(std::shared_ptr<impl> p) : impl_(std::move(p)) {}

  const model_shape& shape() const noexcept;

  /// A new, empty sequence.
  result<sequence_id> open();
  /// A new sequence that shares all entries of `parent` so far (copy on write).
  completion<sequence_id> fork(sequence_id parent);
  /// Frees a sequence. Requests for it that are still in flight end first; later ones give
  /// errc::sequence_closed.
  completion<void> close(sequence_id x);
  /// Pinned sequences are never evicted from; a full tier then gives errc::over_budget.
  completion<void> pin(sequence_id x, bool pinned = true);

  /// Adds K and V `[rows, kv_heads, head_dim]` of one layer. Each part continues its sequence:
  /// `position` equals the tokens appended to that layer so far, else errc::position_gap. All or
  /// nothing: on an error no part was appended. Only deadline_exceeded, cancelled and actor_down
  /// leave that open: the next append or attend of the sequence says where it stands.
  completion<append_report> append(std::uint32_t layer, std::span<const batch_part> parts,
                                   const const_tensor& k, const const_tensor& v,
                                   const append_options& options = {});

  /// Brings the gate's logits of a layer, f32 `[rows, experts]`, for tokens already appended to it.
  /// They label pages (placement) and queries (routing) of the next layer, whose gate comes too
  /// late for its own attention.
  completion<annotate_report> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                       std::span<const float> gate_logits);

  /// Softmax attention of Q `[rows, query_heads, head_dim]` over what the route and the selection
  /// read, causal by position, scaled by 1/sqrt(head_dim), into `out` of the same shape. The tokens
  /// of the queries have been appended to this layer before.
  completion<attend_report> attend(std::uint32_t layer, std::span<const batch_part> parts,
                                   const const_tensor& q, const tensor& out,
                                   const attend_options& options = {});

  /// Bytes and pages, gathered from the owners of all devices, one after another in time: exact when
  /// nothing is in flight.
  completion<cache_usage> usage();

private:
  friend struct cache_access; // cache_access.hpp
  std::shared_ptr<impl> impl_;
};

} // namespace pikv
