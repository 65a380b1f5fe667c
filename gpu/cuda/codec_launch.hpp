// SPDX-License-Identifier: Apache-2.0
/// \file
/// Checks that the launchers of the kernels on page bytes share.
#pragma once

#include <bit>
#include <string>
#include <string_view>

#include <pikv/gpu/page_layout.hpp>
#include <pikv/messages/error.hpp>

namespace pikv::gpu::cuda {

/// Whether kernels support the shape: what page_layout.hpp says of a cache.
inline result<void> check_dims(std::string_view call, const cache_dims& dims) {
  const bool fits = dims.kv_heads > 0 && dims.query_heads % dims.kv_heads == 0
                    && dims.head_dim >= 32 && dims.head_dim % 32 == 0 && dims.head_dim <= 256
                    && dims.page_tokens >= 8 && dims.page_tokens <= 64
                    && std::has_single_bit(dims.page_tokens);
  if (fits)
    return {};
  return pikv::error{errc::invalid_argument,
                     std::string(call)
                         + ": needs head_dim a multiple of 32 up to 256, page_tokens "
                           "8, 16, 32 or 64 and whole groups of query heads"};
}

} // namespace pikv::gpu::cuda
