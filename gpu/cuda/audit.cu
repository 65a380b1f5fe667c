// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/audit.hpp>

#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/codec_numeric.cuh>
#include <pikv/gpu/cuda/numeric.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

struct audit_tuning {
  unsigned blocks = 132;
  unsigned threads = 256;
};
constexpr audit_tuning tuning{};
constexpr unsigned warps = tuning.threads / 32;

struct audit_sums {
  double coverage = 0, error = 0, norm = 0;
};

/// Sums over the block, in thread 0.
__device__ audit_sums block_sums(audit_sums x) {
  __shared__ audit_sums parts[warps];
  x = {warp_sum(x.coverage), warp_sum(x.error), warp_sum(x.norm)};
  if (lane_id() == 0)
    parts[warp_id()] = x;
  __syncthreads();
  audit_sums total;
  if (threadIdx.x == 0)
    for (unsigned w = 0; w < warps; ++w) {
      total.coverage += parts[w].coverage;
      total.error += parts[w].error;
      total.norm += parts[w].norm;
    }
  return total;
}

/// Warps take (row, query head) pairs in turn.
__global__ void __launch_bounds__(tuning.threads)
    audit_kernel(const __grid_constant__ audit_args x, audit_sums* out) {
  const std::uint32_t n = x.rows * x.dims.query_heads;
  audit_sums sums;
  for (std::uint32_t i = blockIdx.x * warps + warp_id(); i < n; i += gridDim.x * warps) {
    if (lane_id() == 0) {
      const double full = static_cast<double>(x.full_lse[i]);
      sums.coverage += isinf(full) ? 1.0 : exp(static_cast<double>(x.lse[i]) - full);
    }
    const std::uint64_t at =
        i / x.dims.query_heads * x.out.row_stride + i % x.dims.query_heads * x.out.head_stride;
    for (std::uint32_t c = lane_id(); c < x.dims.head_dim; c += warp_lanes) {
      const auto full = static_cast<double>(x.full_out[std::size_t{i} * x.dims.head_dim + c]);
      const double e = static_cast<double>(load_f32(x.out.data, x.out.type, at + c)) - full;
      sums.error += e * e;
      sums.norm += full * full;
    }
  }
  sums = block_sums(sums);
  if (threadIdx.x == 0)
    out[blockIdx.x] = sums;
}

__global__ void __launch_bounds__(tuning.threads)
    finish_kernel(const __grid_constant__ audit_args x, const audit_sums* parts) {
  audit_sums sums;
  if (threadIdx.x < tuning.blocks)
    sums = parts[threadIdx.x];
  sums = block_sums(sums);
  if (threadIdx.x != 0)
    return;
  const std::uint32_t n = x.rows * x.dims.query_heads;
  if (x.coverage != nullptr)
    *x.coverage = n > 0 ? sums.coverage / n : 1;
  if (x.output_error != nullptr)
    *x.output_error = sums.norm > 0 ? sqrt(sums.error / sums.norm) : sqrt(sums.error);
}
static_assert(tuning.blocks <= tuning.threads);

} // namespace

std::size_t audit_workspace_bytes() noexcept { return tuning.blocks * sizeof(audit_sums); }

result<void> audit(const audit_args& x, std::byte* workspace, CUstream_st* stream) {
  if (auto ok = check_dims("audit", x.dims); !ok)
    return ok;
  auto* parts = reinterpret_cast<audit_sums*>(workspace);
  audit_kernel<<<tuning.blocks, tuning.threads, 0, stream>>>(x, parts);
  if (auto ok = check_launch("audit"); !ok)
    return ok;
  finish_kernel<<<1, tuning.threads, 0, stream>>>(x, parts);
  return check_launch("audit finish");
}

} // namespace pikv::gpu::cuda
