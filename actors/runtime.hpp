// SPDX-License-Identifier: Apache-2.0
/// \file
/// A running PiKV: devices, actors, metrics and the configuration in force.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/actors/cache.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>

namespace pikv {

struct device_status {
  std::string description;
  std::uint64_t memory_capacity_bytes = 0;
  std::uint64_t memory_reserved_bytes = 0;
  bool alive = false; ///< its shard owner runs
};

struct runtime_status {
  std::uint64_t config_version = 0;
  std::uint64_t sequences = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t actor_restarts = 0;
  std::uint16_t metrics_port = 0; ///< 0: metrics are off
  std::vector<device_status> devices;
};

/// Owns everything. Destroying it ends all requests (errc::cancelled), drains the streams and stops
/// the threads; caches that outlive it answer errc::cancelled.
class runtime {
public:
  class impl;

  /// Starts with these settings; errors name the setting at fault.
  static result<runtime> start(const config::settings& settings);
  /// Starts from a YAML file and follows it: a change of the file or SIGHUP reloads it.
  static result<runtime> from_file(const std::string& path);

  runtime(runtime&&) noexcept;
  runtime& operator=(runtime&&) noexcept;
  ~runtime();

  /// Opens the cache of a model. A runtime serves one model at a time.
  result<cache> open(const model_shape& shape);

  /// Takes a new configuration whole or refuses it whole; the last good one stays in force. Ends
  /// with the new version. The text overload names errors by line, as for files.
  completion<std::uint64_t> reload(const config::settings& next);
  completion<std::uint64_t> reload_text(std::string_view yaml);
  /// Reads the file again (only with from_file).
  completion<std::uint64_t> reload_file();

  config::settings settings() const;
  runtime_status status() const;

  /// Ends all requests with errc::cancelled and stops. Later calls answer errc::cancelled.
  void stop();

private:
  explicit runtime(std::unique_ptr<impl> p) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace pikv
