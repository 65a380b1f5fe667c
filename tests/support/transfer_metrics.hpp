// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a cache's metrics say of moves between devices. Needs pikv::protocol.
#pragma once

#include <string>

#include <pikv/actors/cache_access.hpp>

#include "support/exposition.hpp"

namespace pikv::test {

/// Bytes that moved by this path: "nccl", "device_to_device".
inline double moved_bytes(const cache& c, const std::string& path) {
  const auto text = cache_access::context(c).metrics->text();
  return read_exposition(text)["pikv_transfer_bytes_total{path=\"" + path + "\"}"];
}

/// Moves by this path that failed, whatever the error.
inline double failed_moves(const cache& c, const std::string& path) {
  double n = 0;
  for (const auto& [name, value] : read_exposition(cache_access::context(c).metrics->text()).series)
    if (name.starts_with("pikv_transfer_failures_total{")
        && name.find("path=\"" + path + "\"") != std::string::npos)
      n += value;
  return n;
}

} // namespace pikv::test
