// SPDX-License-Identifier: Apache-2.0
/// \file
/// Index of each metric in the catalog. Same order as the table in catalog.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pikv::monitoring::detail {

enum class metric_id : std::uint8_t {
  entries,
  router_requests,
  router_requests_ended,
  router_request_seconds,
  router_requests_in_flight,
  router_overloaded,
  router_deadline_missed,
  router_route_shards,
  router_coverage,
  router_missed_mass,
  router_output_error,
  router_fidelity_coverage,
  router_fidelity_held,
  owner_entries_appended,
  owner_pages_settled,
  owner_pages_encoded,
  owner_encode_seconds,
  owner_encode_error,
  owner_pages_kept_raw,
  owner_pages_evicted,
  owner_entries_evicted,
  owner_pages_freed,
  owner_pages,
  owner_page_bytes,
  owner_summary_bytes,
  owner_reserved_bytes,
  owner_capacity_bytes,
  owner_scratch_reserved_bytes,
  owner_stream_busy_seconds,
  shard_pages,
  owner_shard_imbalance,
  scheduler_pages_evicted,
  scheduler_pages_evicted_then_wanted,
  scheduler_reuse_distance,
  scheduler_ghost_reads,
  scheduler_ghost_evicted_then_wanted,
  scheduler_ghost_hit_ratio,
  transfer_bytes,
  transfer_seconds,
  transfer_failures,
  supervisor_restarts,
  supervisor_degraded,
  config_reload,
  config_last_reload_successful,
  config_last_reload_success_timestamp,
  config_version,
  actor_mailbox_messages,
  metrics_rejected_samples,
  build_info,
};

inline constexpr std::size_t metric_count = std::size_t(metric_id::build_info) + 1;

} // namespace pikv::monitoring::detail
