// SPDX-License-Identifier: Apache-2.0
/// \file
/// Encoding raw pages and decoding any page on a CUDA device: `kernel_table::encode` and `decode`
/// with descriptors in device memory. Encoded bytes equal those of the host kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

struct encode_launch {
  cache_dims dims;
  form raw = form::f16;             ///< of all pages; a page of another form is not representable
  form target = form::int8;         ///< int8, int4 or fp8
  std::uint32_t count = 0;          ///< pages
  const page_view* pages = nullptr; ///< device `[count]`; without data: skipped
  std::byte* const* out = nullptr;  ///< device `[count]`, `layout_of(dims, target)` each
  codec_error* errors = nullptr;    ///< device `[count]`
};

struct decode_launch {
  cache_dims dims;
  form target = form::f16;          ///< a raw form
  std::uint32_t count = 0;          ///< pages
  const page_view* pages = nullptr; ///< device `[count]`, any forms; without data: skipped
  std::byte* const* out = nullptr;  ///< device `[count]`, `layout_of(dims, target)` each
};

/// Both only enqueue. Fails without a launch where a form or shape is not supported.
result<void> encode(const encode_launch& x, CUstream_st* stream);
result<void> decode(const decode_launch& x, CUstream_st* stream);

} // namespace pikv::gpu::cuda
