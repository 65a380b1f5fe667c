// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rows of `pikv demo`: each is one way to keep and read the same model's cache, written as an
/// edit of the same base configuration. To add a row: one entry in rows.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/config/settings.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::tools {

/// What all rows of a run share.
struct demo_base {
  std::string backend = "host";
  dtype stored = dtype::f16;
  std::uint32_t threads = 0;    ///< of the device; 0: one per core
  std::uint32_t context = 4096; ///< tokens of a window and of a needle prompt
  std::uint32_t batch = 4;      ///< sequences open at once
  std::uint32_t sinks = 4;      ///< first entries, always read; pages begin after them
  model_shape shape;
};

struct demo_row {
  std::string_view name; ///< also the name in --only and in the JSON
  std::string_view help; ///< one line
  bool plain = false;    ///< plain arrays without PiKV: what the others are compared with
  std::function<void(config::settings&, const demo_base&)> edit;
};

/// In the order in which they run.
std::span<const demo_row> demo_rows();

/// The rows of these names in the order of demo_rows(); all for no names. Errors: invalid_argument
/// with the nearest name.
result<std::vector<demo_row>> pick_rows(std::span<const std::string> names);

/// The configuration of a row, metrics left at their defaults. The device's memory holds every
/// sequence of a batch raw, twice over.
config::settings settings_of(const demo_row& row, const demo_base& base);

/// Bytes of K and V of one token in all layers, raw and without any overhead.
double plain_bytes_per_token(const demo_base& base) noexcept;

} // namespace pikv::tools
