// SPDX-License-Identifier: Apache-2.0
/// \file
/// All metrics of one runtime. Components hold probes and name events; names, labels and units are
/// known here only (catalog.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <pikv/messages/types.hpp>
#include <pikv/monitoring/owner_probe.hpp>
#include <pikv/monitoring/router_probe.hpp>
#include <pikv/monitoring/system_probes.hpp>

namespace pikv::monitoring {

/// Owns the registry. Any thread may call anything. Probes keep what they need alive and may
/// outlive it; a probe made a second time for the same lane, device or actor continues its series.
class metrics {
public:
  class impl;

  /// `backend`: the device backend's name, for pikv_build_info.
  explicit metrics(std::string_view backend = "host");
  ~metrics();
  metrics(metrics&&) noexcept;
  metrics& operator=(metrics&&) noexcept;

  router_probe router(lane_id lane) const;
  /// `shards`: how many shards the device may hold; bounds the series of pikv_shard_pages.
  owner_probe owner(device_id device, std::uint32_t shards) const;
  scheduler_probe scheduler() const;
  transfer_probe transfer() const;
  supervisor_probe supervisor() const;
  config_probe config() const;
  /// `index` tells actors of a kind apart (lane, device, ...).
  actor_probe actor(actor_kind kind, std::uint32_t index) const;

  /// Everything in the Prometheus text exposition format, version 0.0.4.
  std::string text() const;

private:
  std::shared_ptr<impl> impl_;
};

} // namespace pikv::monitoring
