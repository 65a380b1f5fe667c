// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/merge.hpp>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

/// One warp a (row, query head).
struct merge_tuning {
  int threads = 128;
};
constexpr merge_tuning tuning{};
constexpr float none = -__builtin_huge_valf();

/// Four channels of a row, rounded to the output's type.
__device__ __forceinline__ void put4(const tensor_ref& out, std::uint64_t at, float4 x) {
  store_f32(out.data, out.type, at, x.x);
  store_f32(out.data, out.type, at + 1, x.y);
  store_f32(out.data, out.type, at + 2, x.z);
  store_f32(out.data, out.type, at + 3, x.w);
}

/// `Quads`: groups of 128 channels.
template <int Quads>
__global__ void __launch_bounds__(tuning.threads)
    merge_kernel(const __grid_constant__ merge_launch x) {
  const std::uint32_t i = blockIdx.x * (tuning.threads / 32) + warp_id();
  if (i >= x.rows * x.dims.query_heads)
    return;
  const std::uint32_t dim = x.dims.head_dim;
  float top = none;
  for (std::uint32_t p = lane_id(); p < x.partials; p += warp_lanes)
    top = fmaxf(top, x.lses[p][i]);
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    top = fmaxf(top, __shfl_xor_sync(whole_warp, top, step));
  float4 acc[Quads] = {};
  double sum = 0;
#pragma unroll 4
  for (std::uint32_t p = 0; p < x.partials; ++p) {
    const float lse = x.lses[p][i];
    const float weight = lse == none ? 0.0F : expf(lse - top);
    sum += static_cast<double>(weight);
    const float* in = x.outs[p] + std::size_t{i} * dim;
#pragma unroll
    for (int k = 0; k < Quads; ++k) {
      const std::uint32_t c = (lane_id() + k * warp_lanes) * 4;
      if (c >= dim)
        continue;
      // What a partial without entries holds may be anything.
      const float4 y = lse == none ? float4{0, 0, 0, 0} : *reinterpret_cast<const float4*>(in + c);
      acc[k] = {fmaf(weight, y.x, acc[k].x), fmaf(weight, y.y, acc[k].y),
                fmaf(weight, y.z, acc[k].z), fmaf(weight, y.w, acc[k].w)};
    }
  }
  const float factor = sum > 0 ? static_cast<float>(1 / sum) : 0.0F;
  const std::uint64_t at =
      i / x.dims.query_heads * x.out.row_stride + i % x.dims.query_heads * x.out.head_stride;
#pragma unroll
  for (int k = 0; k < Quads; ++k) {
    const std::uint32_t c = (lane_id() + k * warp_lanes) * 4;
    if (c < dim)
      put4(x.out, at + c,
           {acc[k].x * factor, acc[k].y * factor, acc[k].z * factor, acc[k].w * factor});
  }
  if (lane_id() == 0 && x.lse != nullptr)
    x.lse[i] = sum > 0 ? static_cast<float>(static_cast<double>(top) + log(sum)) : none;
}

} // namespace

result<void> merge(const merge_launch& x, CUstream_st* stream) {
  if (auto ok = check_dims("merge", x.dims); !ok)
    return ok;
  const std::uint32_t warps = tuning.threads / 32;
  const std::uint64_t items = std::uint64_t{x.rows} * x.dims.query_heads;
  if (items == 0)
    return {};
  const auto blocks = static_cast<unsigned>((items + warps - 1) / warps);
  if (x.dims.head_dim <= 128)
    merge_kernel<1><<<blocks, tuning.threads, 0, stream>>>(x);
  else
    merge_kernel<2><<<blocks, tuning.threads, 0, stream>>>(x);
  return check_launch("merge");
}

} // namespace pikv::gpu::cuda
