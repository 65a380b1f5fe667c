// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/catalog.hpp>

#include <array>

#include <fmt/format.h>

#include <pikv/monitoring/detail/ids.hpp>

namespace pikv::monitoring {

namespace {

using names = std::span<const std::string_view>;
using bounds = std::span<const double>;
using detail::metric_id;

constexpr std::string_view outcome_[] = {"outcome"};
constexpr std::string_view kind_[] = {"kind"};
constexpr std::string_view kind_code_[] = {"kind", "code"};
constexpr std::string_view lane_[] = {"lane"};
constexpr std::string_view layer_[] = {"layer"};
constexpr std::string_view device_[] = {"device"};
constexpr std::string_view device_form_[] = {"device", "form"};
constexpr std::string_view form_[] = {"form"};
constexpr std::string_view form_tensor_[] = {"form", "tensor"};
constexpr std::string_view device_reason_[] = {"device", "reason"};
constexpr std::string_view device_state_[] = {"device", "state"};
constexpr std::string_view device_role_[] = {"device", "role"};
constexpr std::string_view device_shard_[] = {"device", "shard"};
constexpr std::string_view policy_[] = {"policy"};
constexpr std::string_view path_[] = {"path"};
constexpr std::string_view path_code_[] = {"path", "code"};
constexpr std::string_view actor_[] = {"actor"};
constexpr std::string_view actor_index_[] = {"actor", "index"};
constexpr std::string_view result_[] = {"result"};
constexpr std::string_view build_[] = {"version", "backend"};

constexpr double seconds_[] = {1e-5,   2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
                               2.5e-2, 5e-2,   0.1,  0.25, 0.5,    1,    2.5,  5,      10,   30};
constexpr double errors_[] = {1e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3,
                              3e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,  0.5,  1};
constexpr double coverage_[] = {0.5,  0.7,   0.8,   0.9,   0.95,   0.97,   0.98,
                                0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1};
constexpr double shards_[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256};
constexpr double ticks_[] = {1,   2,   4,    8,    16,   32,   64,    128,
                             256, 512, 1024, 2048, 4096, 8192, 16384, 65536};

struct row {
  metric_id id;
  metric_info info;
};

constexpr auto counter = metric_type::counter;
constexpr auto gauge = metric_type::gauge;
constexpr auto histogram = metric_type::histogram;

constexpr row table[] = {
    {metric_id::entries,
     {"pikv_entries_total",
      counter,
      outcome_,
      "Entries that attends met, as (query row, KV head, entry) triples, by where they went; "
      "outcome \"existing\" is the sum of all others.",
      {}}},
    {metric_id::router_requests,
     {"pikv_router_requests_total", counter, kind_, "Requests that clients began.", {}}},
    {metric_id::router_requests_ended,
     {"pikv_router_requests_ended_total",
      counter,
      kind_code_,
      "Requests that ended, by error code (\"ok\" when there was none).",
      {}}},
    {metric_id::router_request_seconds,
     {"pikv_router_request_seconds", histogram, kind_, "Time from a request's arrival to its end.",
      seconds_}},
    {metric_id::router_requests_in_flight,
     {"pikv_router_requests_in_flight",
      gauge,
      lane_,
      "Requests that have begun and not ended.",
      {}}},
    {metric_id::router_overloaded,
     {"pikv_router_overloaded_total",
      counter,
      lane_,
      "Requests refused because limits.max_in_flight was reached.",
      {}}},
    {metric_id::router_deadline_missed,
     {"pikv_router_deadline_missed_total",
      counter,
      lane_,
      "Requests that ended because their deadline passed.",
      {}}},
    {metric_id::router_route_shards,
     {"pikv_router_route_shards", histogram, {}, "Shards in a query row's route.", shards_}},
    {metric_id::router_coverage,
     {"pikv_router_coverage_ratio",
      histogram,
      {},
      "Share of the full softmax mass that lies in what was read, from audits.",
      coverage_}},
    {metric_id::router_missed_mass,
     {"pikv_router_missed_mass_ratio", histogram, layer_,
      "Share of the full softmax mass that was not read, from audits, by layer.", errors_}},
    {metric_id::router_output_error,
     {"pikv_router_output_error_ratio", histogram, layer_,
      "Relative L2 error of an attend's output against the full attention, from audits, by layer.",
      errors_}},
    {metric_id::router_fidelity_coverage,
     {"pikv_router_fidelity_coverage_ratio",
      gauge,
      lane_,
      "Coverage that each row is told to reach so that the fidelity target is held; 0 without one.",
      {}}},
    {metric_id::router_fidelity_held,
     {"pikv_router_fidelity_held",
      gauge,
      lane_,
      "1 while audits meet the fidelity target, or there is none; 0 when they have missed it for "
      "long.",
      {}}},
    {metric_id::owner_entries_appended,
     {"pikv_owner_entries_appended_total",
      counter,
      device_,
      "Entries (token x layer) appended.",
      {}}},
    {metric_id::owner_pages_settled,
     {"pikv_owner_pages_settled_total",
      counter,
      device_form_,
      "Pages that left a window for a shard, by the form they have afterwards.",
      {}}},
    {metric_id::owner_pages_encoded,
     {"pikv_owner_pages_encoded_total",
      counter,
      device_form_,
      "Pages encoded, by the form they got.",
      {}}},
    {metric_id::owner_encode_seconds,
     {"pikv_owner_encode_seconds", histogram, form_, "Time of one batch of encoding.", seconds_}},
    {metric_id::owner_encode_error,
     {"pikv_owner_encode_error_ratio", histogram, form_tensor_,
      "Relative L2 reconstruction error of encoded pages, for keys (k) and values (v).", errors_}},
    {metric_id::owner_pages_kept_raw,
     {"pikv_owner_pages_kept_raw_total",
      counter,
      device_reason_,
      "Settled pages that a codec was asked for and that stayed raw.",
      {}}},
    {metric_id::owner_pages_evicted,
     {"pikv_owner_pages_evicted_total",
      counter,
      device_reason_,
      "Pages dropped from open sequences.",
      {}}},
    {metric_id::owner_entries_evicted,
     {"pikv_owner_entries_evicted_total",
      counter,
      device_reason_,
      "Entries dropped from open sequences.",
      {}}},
    {metric_id::owner_pages_freed,
     {"pikv_owner_pages_freed_total",
      counter,
      device_,
      "Pages freed because the last sequence that held them was closed.",
      {}}},
    {metric_id::owner_pages,
     {"pikv_owner_pages", gauge, device_state_, "Pages held, in windows and settled.", {}}},
    {metric_id::owner_page_bytes,
     {"pikv_owner_page_bytes",
      gauge,
      device_,
      "Bytes of pages in whatever form, scales included.",
      {}}},
    {metric_id::owner_summary_bytes,
     {"pikv_owner_summary_bytes", gauge, device_, "Bytes of page summaries.", {}}},
    {metric_id::owner_reserved_bytes,
     {"pikv_owner_reserved_bytes",
      gauge,
      device_,
      "Bytes that the device's memory arena has handed out.",
      {}}},
    {metric_id::owner_capacity_bytes,
     {"pikv_owner_capacity_bytes", gauge, device_, "Size of the device's memory arena.", {}}},
    {metric_id::owner_scratch_reserved_bytes,
     {"pikv_owner_scratch_reserved_bytes",
      gauge,
      device_,
      "Bytes that the device's scratch arena has handed out.",
      {}}},
    {metric_id::owner_stream_busy_seconds,
     {"pikv_owner_stream_busy_seconds_total",
      counter,
      device_role_,
      "Time that streams spent executing work.",
      {}}},
    {metric_id::shard_pages,
     {"pikv_shard_pages", gauge, device_shard_, "Settled pages by shard.", {}}},
    {metric_id::owner_shard_imbalance,
     {"pikv_owner_shard_imbalance_ratio",
      gauge,
      device_,
      "Pages of the fullest shard over the mean of all shards; 0 when there are none.",
      {}}},
    {metric_id::scheduler_pages_evicted,
     {"pikv_scheduler_pages_evicted_total",
      counter,
      policy_,
      "Pages whose eviction the scheduling policy ordered.",
      {}}},
    {metric_id::scheduler_pages_evicted_then_wanted,
     {"pikv_scheduler_pages_evicted_then_wanted_total",
      counter,
      {},
      "Evicted pages that a later query would have read.",
      {}}},
    {metric_id::scheduler_reuse_distance,
     {"pikv_scheduler_reuse_distance_ticks",
      histogram,
      {},
      "Scheduler ticks between two reads of a page.",
      ticks_}},
    {metric_id::scheduler_ghost_reads,
     {"pikv_scheduler_ghost_reads_total",
      counter,
      policy_,
      "Reads of settled pages that the policies in `ghosts` were judged by.",
      {}}},
    {metric_id::scheduler_ghost_evicted_then_wanted,
     {"pikv_scheduler_ghost_evicted_then_wanted_total",
      counter,
      policy_,
      "Of those reads, the ones of pages that the ghost would have evicted.",
      {}}},
    {metric_id::scheduler_ghost_hit_ratio,
     {"pikv_scheduler_ghost_hit_ratio",
      gauge,
      policy_,
      "Share of those reads, since the start, whose page the ghost would have kept.",
      {}}},
    {metric_id::transfer_bytes, {"pikv_transfer_bytes_total", counter, path_, "Bytes moved.", {}}},
    {metric_id::transfer_seconds,
     {"pikv_transfer_seconds", histogram, path_, "Time of one transfer.", seconds_}},
    {metric_id::transfer_failures,
     {"pikv_transfer_failures_total",
      counter,
      path_code_,
      "Transfers that failed, by error code.",
      {}}},
    {metric_id::supervisor_restarts,
     {"pikv_supervisor_restarts_total", counter, actor_, "Actors started again.", {}}},
    {metric_id::supervisor_degraded,
     {"pikv_supervisor_degraded_total",
      counter,
      actor_,
      "Actors given up after too many restarts; what they did is off.",
      {}}},
    {metric_id::config_reload,
     {"pikv_config_reload_total", counter, result_, "Attempts to reload the configuration.", {}}},
    {metric_id::config_last_reload_successful,
     {"pikv_config_last_reload_successful",
      gauge,
      {},
      "1 when the last attempt to load the configuration was taken, else 0.",
      {}}},
    {metric_id::config_last_reload_success_timestamp,
     {"pikv_config_last_reload_success_timestamp_seconds",
      gauge,
      {},
      "Unix time of the last configuration that was taken.",
      {}}},
    {metric_id::config_version,
     {"pikv_config_version", gauge, {}, "Version of the configuration in force.", {}}},
    {metric_id::actor_mailbox_messages,
     {"pikv_actor_mailbox_messages",
      gauge,
      actor_index_,
      "Messages waiting in an actor's mailbox.",
      {}}},
    {metric_id::metrics_rejected_samples,
     {"pikv_metrics_rejected_samples_total",
      counter,
      {},
      "Measurements left out of a histogram because they were NaN or infinite.",
      {}}},
    {metric_id::build_info,
     {"pikv_build_info", gauge, build_, "Always 1; the labels say what runs.", {}}},
};

static_assert(std::size(table) == detail::metric_count);
static_assert([] {
  for (std::size_t i = 0; i < std::size(table); ++i)
    if (table[i].id != metric_id(i))
      return false;
  return true;
}());

constexpr auto infos = [] {
  std::array<metric_info, detail::metric_count> out;
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = table[i].info;
  return out;
}();

} // namespace

std::string_view to_string(metric_type x) noexcept {
  switch (x) {
  case metric_type::counter: return "counter";
  case metric_type::gauge: return "gauge";
  case metric_type::histogram: return "histogram";
  }
  return "unknown";
}

std::span<const metric_info> catalog() noexcept { return infos; }

const metric_info* find_metric(std::string_view name) noexcept {
  for (const auto& x : infos) {
    if (name == x.name)
      return &x;
    if (x.type == metric_type::histogram && name.starts_with(x.name)) {
      const auto suffix = name.substr(x.name.size());
      if (suffix == "_bucket" || suffix == "_sum" || suffix == "_count")
        return &x;
    }
  }
  return nullptr;
}

std::string reference() {
  std::string out = "# Metrics\n\nEverything `GET /metrics` exports, in base units. Counters are "
                    "totals since the start; ask Prometheus for rates.\n\n"
                    "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n";
  for (const auto& x : infos)
    out += fmt::format("| `{}` | {} | {} | {} |\n", x.name, to_string(x.type),
                       fmt::join(x.labels, ", "), x.help);
  return out;
}

} // namespace pikv::monitoring
