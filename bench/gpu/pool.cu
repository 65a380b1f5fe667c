// SPDX-License-Identifier: Apache-2.0
#include "pool.hpp"

#include <pikv/gpu/cuda/numeric.cuh>

namespace pikv::bench {
namespace {

using namespace gpu::cuda;

__device__ std::uint32_t mix(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDULL;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ULL;
  return static_cast<std::uint32_t>(x >> 32);
}

/// The sum of four uniform bytes, centred, with deviation 1.
__device__ float about_normal(std::uint64_t i) {
  const std::uint32_t x = mix(i + 1);
  const int sum = static_cast<int>((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24));
  return static_cast<float>(sum - 510) / 147.8F;
}

/// Element `i` of a value region; int8 and int4 count bytes, whose affine scales follow.
__device__ void fill_value(std::byte* region, form stored, std::uint64_t i, std::uint64_t seed) {
  const float x = about_normal(seed + i);
  switch (stored) {
  case form::bf16: store_f32(region, dtype::bf16, i, x); break;
  case form::f16: store_f32(region, dtype::f16, i, x); break;
  case form::fp8: region[i] = std::byte{e4m3_from_f32(x * 64)}; break;
  default: region[i] = static_cast<std::byte>(mix(seed + i)); break;
  }
}

__global__ void fill_kernel(std::byte* pool, std::uint64_t heads, gpu::page_layout layout) {
  for (std::uint64_t h = blockIdx.x; h < heads; h += gridDim.x) {
    std::byte* head = pool + h * layout.head_bytes;
    const std::uint64_t seed = h << 20;
    const std::uint64_t bytes = layout.k_scale_offset;
    const bool two = layout.stored == form::bf16 || layout.stored == form::f16;
    for (std::uint64_t i = threadIdx.x; i < bytes / (two ? 2 : 1); i += blockDim.x)
      fill_value(head, layout.stored, i, seed);
    if (layout.stored == form::fp8 && threadIdx.x == 0) {
      *reinterpret_cast<float*>(head + layout.k_scale_offset) = 1 / 64.0F;
      *reinterpret_cast<float*>(head + layout.v_scale_offset) = (1 + h % 3) / 128.0F;
    } else if (!two && layout.stored != form::fp8) {
      const float scale = layout.stored == form::int8 ? 4.0F / 255 : 4.0F / 15;
      auto* pairs = reinterpret_cast<__half2*>(head + layout.k_scale_offset);
      for (std::uint64_t i = threadIdx.x; i < (layout.head_bytes - bytes) / 4; i += blockDim.x)
        pairs[i] = __floats2half2_rn(scale * (1 + 0.1F * static_cast<float>(i % 3)), -2.0F);
    }
  }
}

__global__ void fill_bf16_kernel(__nv_bfloat16* data, std::uint64_t count, std::uint64_t seed) {
  const std::uint64_t step = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; i < count; i += step)
    data[i] = __float2bfloat16_rn(about_normal(seed + i));
}

__global__ void __launch_bounds__(1024)
    read_kernel(const uint4* data, std::uint64_t count, std::uint32_t* sink) {
  std::uint32_t x = 0;
  const std::uint64_t step = std::uint64_t{gridDim.x} * blockDim.x;
#pragma unroll 4
  for (std::uint64_t i = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; i < count;
       i += step) {
    const uint4 y = __ldcs(data + i);
    x ^= y.x ^ y.y ^ y.z ^ y.w;
  }
  if (x == 0x12345678)
    *sink = x;
}

__global__ void __launch_bounds__(1024)
    read_pieces_kernel(const uint4* const* pieces, std::uint64_t count, std::uint32_t each,
                       std::uint32_t* sink) {
  std::uint32_t x = 0;
  for (std::uint64_t i = blockIdx.x * std::uint64_t{2} + threadIdx.x / 512; i < count;
       i += gridDim.x * std::uint64_t{2})
    for (std::uint32_t j = threadIdx.x % 512; j < each; j += 512) {
      const uint4 y = __ldcs(pieces[i] + j);
      x ^= y.x ^ y.y ^ y.z ^ y.w;
    }
  if (x == 0x12345678)
    *sink = x;
}

} // namespace

void fill_pages(std::byte* pool, std::uint64_t pages, const gpu::cache_dims& dims, form stored,
                CUstream_st* stream) {
  fill_kernel<<<2112, 256, 0, stream>>>(pool, pages * dims.kv_heads, gpu::layout_of(dims, stored));
}

void fill_bf16(void* data, std::uint64_t count, std::uint64_t seed, CUstream_st* stream) {
  fill_bf16_kernel<<<264, 256, 0, stream>>>(static_cast<__nv_bfloat16*>(data), count, seed);
}

void read_all(const std::byte* data, std::uint64_t bytes, std::uint32_t* sink,
              CUstream_st* stream) {
  read_kernel<<<2112, 1024, 0, stream>>>(reinterpret_cast<const uint4*>(data), bytes / 16, sink);
}

void read_pieces(const std::byte* const* pieces, std::uint64_t count, std::uint32_t bytes,
                 std::uint32_t* sink, CUstream_st* stream) {
  read_pieces_kernel<<<2112, 1024, 0, stream>>>(reinterpret_cast<const uint4* const*>(pieces),
                                                count, bytes / 16, sink);
}

} // namespace pikv::bench
