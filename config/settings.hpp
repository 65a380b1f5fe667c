// SPDX-License-Identifier: Apache-2.0
/// \file
/// The configuration as typed structs, with the defaults of every key. How it reads in YAML, which
/// keys are live and what values are allowed is said once, in schema.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <pikv/messages/move_path.hpp>
#include <pikv/messages/options.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::config {

/// How eagerly idle threads look for work. low answers in microseconds and burns a core while
/// requests flow; idle sleeps at once; balanced spins briefly.
enum class latency_profile : std::uint8_t { low, balanced, idle };

struct runtime_settings {
  latency_profile latency = latency_profile::balanced;
  std::uint32_t lanes = 1;         ///< routers; a sequence stays in one lane
  std::uint32_t actor_threads = 1; ///< threads of the actor scheduler
};

struct device_settings {
  std::string backend = "host";
  std::uint32_t count = 1;   ///< logical devices
  std::uint32_t threads = 0; ///< per device; 0: cores / count, at least 1
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;
  std::uint64_t scratch_bytes = std::uint64_t{256} << 20;
  std::uint64_t exchange_bytes = std::uint64_t{64} << 20; ///< cuda, with count > 1
};

struct transfer_settings {
  move_path path = move_path::automatic;
};

/// What leaves the window for a shard: whole pages of consecutive entries, or each entry by itself
/// (the PiKV paper's way), through a page that its shard keeps open.
enum class settle_granularity : std::uint8_t { page, entry };

struct cache_settings {
  std::uint32_t page_tokens = 16; ///< 8, 16, 32 or 64
  dtype stored = dtype::f16;      ///< raw pages
  std::uint32_t sinks = 4;        ///< first entries of a sequence, always read
  std::uint32_t window = 128;     ///< most recent entries, always read
  std::uint32_t shards = 16;
  std::uint32_t shard_capacity_pages = 0; ///< ring size of a shard on its device; 0: unlimited
  settle_granularity granularity = settle_granularity::page;
};

/// What an append does when its device has no room left: make the least useful settled pages give
/// way (lossy, counted), or refuse with errc::over_budget.
enum class full_policy : std::uint8_t { evict, refuse };

struct limit_settings {
  std::uint32_t max_in_flight = 1024; ///< requests per lane; more are refused as overloaded
  std::uint32_t max_sequences = 65536;
  std::chrono::nanoseconds deadline = std::chrono::seconds{30}; ///< of requests that name none
  full_policy when_full = full_policy::evict;
};

/// Scheduling policies that are run beside the live one, on what it reads, without data.
struct ghost_settings {
  std::string policies; ///< names, separated by commas; empty: none
  std::uint32_t tokens = 0; ///< entries that a layer may keep in a ghost; 0: as the live budget says
};

struct fidelity_settings {
  double audit_share = 1.0 / 512; ///< share of attends that are also computed in full
  double coverage_target = 0;     ///< mean share of the softmax mass to hold; 0: none
  double max_output_error = 0;    ///< mean relative L2 error to stay below; 0: no limit
};

struct metrics_settings {
  bool enabled = true;
  std::string address = "127.0.0.1";
  std::uint16_t port = 9464; ///< 0: any free port
  std::string admin_token_file; ///< read at the start; empty: nothing can be changed over HTTP
};

struct settings {
  runtime_settings runtime;
  device_settings devices;
  transfer_settings transfer;
  cache_settings cache;
  policy_choice placement{"stripe", {}};
  policy_choice routing{"all", {}};
  policy_choice selection{"all", {}};
  policy_choice compression{"identity", {}};
  policy_choice budget{"uniform", {}};
  policy_choice scheduling{"lru", {}};
  ghost_settings ghosts;
  limit_settings limits;
  fidelity_settings fidelity;
  metrics_settings metrics;
};

/// The names in order, without blanks around them.
std::vector<std::string> ghost_names(const ghost_settings& x);

} // namespace pikv::config
