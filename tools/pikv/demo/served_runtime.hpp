// SPDX-License-Identifier: Apache-2.0
/// \file
/// The runtime of the row that runs now, with its metrics at one address during the whole demo.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <pikv/actors/runtime.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>

namespace pikv::tools {

/// One thread uses it. Notes go to stderr.
class served_runtime {
public:
  explicit served_runtime(std::uint16_t port) : port_(port) {}

  /// Ends the runtime before, then starts one with these settings. When the port is taken, any free
  /// one is used from then on, with a note. The pointer is good until the next start.
  result<runtime*> start(config::settings settings);

  /// The same from a configuration file, which it follows (runtime::from_file). The file says where
  /// metrics are served; a port that is taken is an error.
  result<runtime*> follow(const std::string& file);

  bool running() const noexcept { return runtime_.has_value(); }
  std::string url() const; ///< of the metrics; empty when none are served

private:
  runtime* keep(runtime x);

  std::optional<runtime> runtime_;
  std::string address_;
  std::uint16_t port_;
  std::string announced_;
};

} // namespace pikv::tools
