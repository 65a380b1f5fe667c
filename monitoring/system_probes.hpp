// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the scheduler, transfers, the supervisor, the configuration and actors in general tell the
/// metrics. Rules of use: router_probe.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <pikv/monitoring/labels.hpp>

namespace pikv::monitoring {

class scheduler_probe {
public:
  class impl;
  explicit scheduler_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  /// `policy`: a name of the scheduling table.
  void eviction_ordered(std::string_view policy, std::uint64_t pages);
  void evicted_then_wanted(std::uint64_t pages) noexcept;
  void reuse_distance(std::uint64_t ticks) noexcept;
  /// `policy`: a name of the scheduling table that runs as a ghost; what it would have had of one
  /// attend's reads.
  void ghost_reads(std::string_view policy, std::uint64_t kept, std::uint64_t missed);
  void flush();

private:
  std::shared_ptr<impl> impl_;
};

class transfer_probe {
public:
  class impl;
  explicit transfer_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  void transferred(transfer_path path, std::uint64_t bytes, double seconds);
  void failed(transfer_path path, errc code);
  void flush();

private:
  std::shared_ptr<impl> impl_;
};

class supervisor_probe {
public:
  class impl;
  explicit supervisor_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  void restarted(actor_kind kind) noexcept;
  void degraded(actor_kind kind) noexcept;

private:
  std::shared_ptr<impl> impl_;
};

class config_probe {
public:
  class impl;
  explicit config_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  /// The configuration that the process started with: no reload is counted.
  void loaded(std::uint64_t version, double unix_seconds) noexcept;
  /// A reload ended; `version` is the one in force now. A refused one leaves the time of the last
  /// success as it is.
  void reload(reload_result result, std::uint64_t version, double unix_seconds) noexcept;

private:
  std::shared_ptr<impl> impl_;
};

class actor_probe {
public:
  class impl;
  explicit actor_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  void mailbox_depth(std::uint64_t messages) noexcept;

private:
  std::shared_ptr<impl> impl_;
};

} // namespace pikv::monitoring
