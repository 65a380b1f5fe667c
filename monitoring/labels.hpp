// SPDX-License-Identifier: Apache-2.0
/// \file
/// The values that metric labels may take. Each label is an enumeration or an index below a bound
/// known at start, so the number of time series is bounded by the configuration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <pikv/messages/error.hpp>
#include <pikv/messages/kinds.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::monitoring {

using pikv::evict_reason;
using pikv::request_kind;

/// Why a settled page stays in its raw form although a codec is configured.
enum class kept_raw_reason : std::uint8_t {
  policy,     ///< the compression policy chose a raw form
  error,      ///< the reconstruction error was above the allowed one
  not_finite, ///< the page holds NaN or infinities
  memory,     ///< no memory for the encoded page or the codec's workspace
  failed,     ///< the codec failed
};

enum class stream_role : std::uint8_t { append, attend, encode, transfer };

/// What connects the two ends of a transfer.
enum class transfer_path : std::uint8_t {
  local, ///< on one device
  host_to_device,
  device_to_host,
  device_to_device,
  disk,
  nccl,
  tcp,
};

enum class actor_kind : std::uint8_t {
  router,
  shard_owner,
  compressor,
  stream_scheduler,
  transfer,
  config_watcher,
  metrics,
  supervisor,
};

enum class reload_result : std::uint8_t { success, refused };

std::string_view to_string(kept_raw_reason x) noexcept;
std::string_view to_string(stream_role x) noexcept;
std::string_view to_string(transfer_path x) noexcept;
std::string_view to_string(actor_kind x) noexcept;
std::string_view to_string(reload_result x) noexcept;

/// How many values an enumeration has; they count up from 0.
template <class E>
constexpr std::size_t value_count = 0;
template <>
inline constexpr std::size_t value_count<request_kind> = std::size_t(request_kind::usage) + 1;
template <>
inline constexpr std::size_t value_count<evict_reason> = std::size_t(evict_reason::ring) + 1;
template <>
inline constexpr std::size_t value_count<kept_raw_reason> = std::size_t(kept_raw_reason::failed)
                                                            + 1;
template <>
inline constexpr std::size_t value_count<stream_role> = std::size_t(stream_role::transfer) + 1;
template <>
inline constexpr std::size_t value_count<transfer_path> = std::size_t(transfer_path::tcp) + 1;
template <>
inline constexpr std::size_t value_count<actor_kind> = std::size_t(actor_kind::supervisor) + 1;
template <>
inline constexpr std::size_t value_count<reload_result> = std::size_t(reload_result::refused) + 1;
template <>
inline constexpr std::size_t value_count<errc> = std::size_t(errc::internal) + 1;
template <>
inline constexpr std::size_t value_count<form> = form_count;

} // namespace pikv::monitoring
