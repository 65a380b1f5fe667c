// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/codec.hpp>

#include <pikv/gpu/cuda/codec_decode.cuh>
#include <pikv/gpu/cuda/codec_encode.cuh>
#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

/// One block a page; its warps take the parts (K and V of each head) in turn. Chosen on an H200
/// with 65,536 tokens of 8 x 128: encode f16 to int8 118 us (128 threads: 127, batch 8: 123), to
/// fp8 108.
struct codec_tuning {
  int encode_threads = 256;
  int encode_batch = 4; ///< loads of eight values that a lane makes before it uses the first
  int fp8_batch = 8;
  int encode_blocks = 3; ///< resident blocks that registers must allow
  int int4_blocks = 4;   ///< the same for int4: 107 and 110 us (bf16, f16) where 3 take 111
  int decode_threads = 256;
  int decode_batch = 8;
  int decode_blocks = 4;
};
constexpr codec_tuning tuning{};

template <class T, form Target, int Vectors>
__global__ void __launch_bounds__(tuning.encode_threads, sizeof(T) != 2 ? 2
                                                         : Target == form::int4
                                                             ? tuning.int4_blocks
                                                             : tuning.encode_blocks)
    encode_kernel(const __grid_constant__ encode_shape s, const page_view* __restrict__ pages,
                  std::byte* const* out, codec_error* errors) {
  constexpr int warps = tuning.encode_threads / 32;
  constexpr int batch =
      Target == form::fp8 && sizeof(T) == 2 ? tuning.fp8_batch : tuning.encode_batch;
  const page_view page = pages[blockIdx.x];
  lane_quality k, v;
  if (page.data != nullptr && page.stored != form_of<T>())
    k.representable = false;
  else if (page.data != nullptr)
    encode_page<Target, Vectors, batch, warps, T>(s, page.data, out[blockIdx.x], page.tokens, k, v);
  write_errors<warps>(k, v, errors + blockIdx.x);
}

template <form Stored, class T>
__device__ __forceinline__ void decode_page(const encode_shape& s, const page_view& page,
                                            std::byte* out, const head_offsets& to) {
  constexpr int batch = is_raw(Stored) ? 4 : tuning.decode_batch;
  const head_offsets from = s.offsets.of[static_cast<int>(Stored)];
  const std::uint32_t k_end = s.dims.head_dim * s.dims.page_tokens;
  const std::uint32_t v_end = page.tokens * s.dims.head_dim;
  for (std::uint32_t i = warp_id(); i < 2 * s.dims.kv_heads; i += tuning.decode_threads / 32) {
    const std::uint32_t head = i / 2;
    const bool is_k = i % 2 == 0;
    const coded_part part =
        coded_at(page.data + std::size_t{head} * from.bytes, from, s.k_group_log2, is_k);
    T* const values = reinterpret_cast<T*>(out + std::size_t{head} * to.bytes + (is_k ? 0 : to.v));
    const std::uint32_t end = is_k ? k_end : v_end;
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
          store_raw8(in_global(values + first + j * tile_values), narrow<T>(y));
        }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(tuning.decode_threads, tuning.decode_blocks)
    decode_kernel(const __grid_constant__ encode_shape s, form target,
                  const page_view* __restrict__ pages, std::byte* const* out) {
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
  const encode_shape s = encode_shape_of(x.dims);
  with_raw(x.raw, [&](auto tag) {
    using T = decltype(tag);
    const auto launch = [&](auto kernel) {
      kernel<<<x.count, tuning.encode_threads, 0, stream>>>(s, x.pages, x.out, x.errors);
    };
    const bool small = s.k_group_log2 == 3;
    if (x.target == form::int8)
      small ? launch(encode_kernel<T, form::int8, 1>) : launch(encode_kernel<T, form::int8, 2>);
    else if (x.target == form::int4)
      small ? launch(encode_kernel<T, form::int4, 1>) : launch(encode_kernel<T, form::int4, 2>);
    else
      launch(encode_kernel<T, form::fp8, 1>);
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
  const encode_shape s = encode_shape_of(x.dims);
  with_raw(x.target, [&](auto tag) {
    decode_kernel<decltype(tag)>
        <<<x.count, tuning.decode_threads, 0, stream>>>(s, x.target, x.pages, x.out);
  });
  return check_launch("decode");
}

} // namespace pikv::gpu::cuda
