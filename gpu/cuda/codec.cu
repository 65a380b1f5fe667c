// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/codec.hpp>

#include <bit>

#include <pikv/gpu/cuda/codec_decode.cuh>
#include <pikv/gpu/cuda/codec_encode.cuh>
#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

/// One block a page; its warps take the parts (K and V of each head) in turn.
struct codec_tuning {
  int threads = 256;
  int encode_batch = 4; ///< loads of eight values that a lane makes before it uses the first
  int fp8_batch = 8;
  int decode_batch = 8;
  int encode_blocks = 3; ///< resident blocks that registers must allow
  int decode_blocks = 4;
};
constexpr codec_tuning tuning{};
constexpr int warps = tuning.threads / 32;

struct codec_shape {
  cache_dims dims;
  form_offsets offsets;
  std::uint32_t k_group_log2 = 0;
  std::uint32_t tiles = 0; ///< of one part
};

codec_shape shape_of(const cache_dims& dims) noexcept {
  const std::uint32_t k_group = layout_of(dims, form::int8).k_group;
  return {dims, offsets_of(dims), static_cast<std::uint32_t>(std::countr_zero(k_group)),
          dims.head_dim * dims.page_tokens / tile_values};
}

/// Adds up the lanes of a block; thread 0 writes.
__device__ void write_errors(const lane_quality& k, const lane_quality& v, codec_error* out) {
  __shared__ double sums[warps][4];
  const bool fits = __syncthreads_and(k.representable && v.representable) != 0;
  const double lane[4] = {k.error, k.norm, v.error, v.norm};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const double sum = warp_sum(lane[i]);
    if (lane_id() == 0)
      sums[warp_id()][i] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0)
    return;
  codec_error total;
  for (int w = 0; w < warps; ++w) {
    total.k_error += sums[w][0];
    total.k_norm += sums[w][1];
    total.v_error += sums[w][2];
    total.v_norm += sums[w][3];
  }
  total.representable = fits;
  *out = total;
}

template <class T, form Target>
__global__ void __launch_bounds__(tuning.threads, sizeof(T) == 2 ? tuning.encode_blocks : 2)
    encode_kernel(const __grid_constant__ codec_shape s, const page_view* __restrict__ pages, std::byte* const* out,
                  codec_error* errors) {
  const page_view page = pages[blockIdx.x];
  lane_quality k, v;
  const form raw = sizeof(T) == 4 ? form::f32
                   : std::is_same_v<T, __half> ? form::f16
                                               : form::bf16;
  const head_offsets from = s.offsets.of[static_cast<int>(raw)];
  const head_offsets to = s.offsets.of[static_cast<int>(Target)];
  if (page.data != nullptr && page.stored != raw) {
    k.representable = false;
  } else if (page.data != nullptr) {
    std::byte* const coded = out[blockIdx.x];
    for (std::uint32_t i = warp_id(); i < 2 * s.dims.kv_heads; i += warps) {
      const std::uint32_t head = i / 2;
      const bool is_k = i % 2 == 0;
      const auto part = part_at<T>(page.data + std::size_t{head} * from.bytes,
                                   coded + std::size_t{head} * to.bytes, from, to, s.dims,
                                   s.k_group_log2, page.tokens, is_k);
      lane_quality sums;
      if constexpr (Target == form::fp8)
        encode_part_fp8<tuning.fp8_batch>(part, {}, warp_largest, sums);
      else
        encode_part<Target, tuning.encode_batch>(part, {}, sums);
      k.error += is_k ? sums.error : 0.0F;
      k.norm += is_k ? sums.norm : 0.0F;
      v.error += is_k ? 0.0F : sums.error;
      v.norm += is_k ? 0.0F : sums.norm;
      k.representable &= sums.representable;
    }
  }
  write_errors(k, v, errors + blockIdx.x);
}

template <form Stored, class T>
__device__ __forceinline__ void decode_page(const codec_shape& s, const page_view& page,
                                            std::byte* out, const head_offsets& to) {
  constexpr int batch = is_raw(Stored) ? 4 : tuning.decode_batch;
  const head_offsets from = s.offsets.of[static_cast<int>(Stored)];
  const std::uint32_t v_end = page.tokens * s.dims.head_dim;
  for (std::uint32_t i = warp_id(); i < 2 * s.dims.kv_heads; i += warps) {
    const std::uint32_t head = i / 2;
    const bool is_k = i % 2 == 0;
    const coded_part part =
        coded_at(page.data + std::size_t{head} * from.bytes, from, s.k_group_log2, is_k);
    T* const values = reinterpret_cast<T*>(out + std::size_t{head} * to.bytes + (is_k ? 0 : to.v));
    const std::uint32_t end = is_k ? s.tiles * tile_values : v_end;
    for (std::uint32_t first = lane_id() * lane_values; first < end; first += batch * tile_values) {
      fetched8<Stored> x[batch];
#pragma unroll
      for (int j = 0; j < batch; ++j)
        if (first + j * tile_values < end)
          x[j] = fetch8<Stored>(part, first + j * tile_values);
#pragma unroll
      for (int j = 0; j < batch; ++j)
        if (first + j * tile_values < end) {
          float y[8];
          widen<Stored>(x[j], y);
          store_raw8(values + first + j * tile_values, narrow<T>(y));
        }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(tuning.threads, tuning.decode_blocks)
    decode_kernel(const __grid_constant__ codec_shape s, form target, const page_view* __restrict__ pages,
                  std::byte* const* out) {
  const page_view page = pages[blockIdx.x];
  if (page.data == nullptr)
    return;
  const head_offsets to = s.offsets.of[static_cast<int>(target)];
  with_form(page.stored, [&](auto stored) {
    decode_page<decltype(stored)::value, T>(s, page, out[blockIdx.x], to);
  });
}

} // namespace

result<void> encode(const encode_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("encode", x.dims); !ok)
    return ok;
  if (!is_raw(x.raw) || is_raw(x.target))
    return pikv::error{errc::invalid_argument, "encode: takes a raw form to int8, int4 or fp8"};
  if (x.count == 0)
    return {};
  const codec_shape s = shape_of(x.dims);
  with_raw(x.raw, [&](auto tag) {
    using T = decltype(tag);
    const auto launch = [&](auto kernel) {
      kernel<<<x.count, tuning.threads, 0, stream>>>(s, x.pages, x.out, x.errors);
    };
    if (x.target == form::int8)
      launch(encode_kernel<T, form::int8>);
    else if (x.target == form::int4)
      launch(encode_kernel<T, form::int4>);
    else
      launch(encode_kernel<T, form::fp8>);
  });
  return check_launch("encode");
}

result<void> decode(const decode_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("decode", x.dims); !ok)
    return ok;
  if (!is_raw(x.target))
    return pikv::error{errc::invalid_argument, "decode: the target is not a raw form"};
  if (x.count == 0)
    return {};
  const codec_shape s = shape_of(x.dims);
  with_raw(x.target, [&](auto tag) {
    decode_kernel<decltype(tag)>
        <<<x.count, tuning.threads, 0, stream>>>(s, x.target, x.pages, x.out);
  });
  return check_launch("decode");
}

} // namespace pikv::gpu::cuda
