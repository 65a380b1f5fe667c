// SPDX-License-Identifier: Apache-2.0
// A block takes a few KV heads of the targets of the pages that begin in its stretch of the target
// list. V rows go straight to their slots. K rows are gathered in shared memory and leave as
// columns: 16 bytes of consecutive slots where the targets hold them, else element by element.
#include <pikv/gpu/cuda/append.hpp>

#include <bit>

#include <pikv/gpu/cuda/append_rows.cuh>
#include <pikv/gpu/cuda/codec_launch.hpp>
#include <pikv/gpu/cuda/shared_memory.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {
namespace {

using namespace append_detail;

template <class In, class Out, bool Summaries>
__global__ void __launch_bounds__(tuning.threads, sizeof(In) + sizeof(Out) == 4 ? tuning.blocks : 4)
    append_kernel(const __grid_constant__ append_shape s) {
  extern __shared__ __align__(16) std::byte rows[];
  __shared__ target_list t;
  const head_offsets at = s.offsets.of[static_cast<int>(s.x.stored)];
  const std::uint32_t row_bytes = s.x.dims.head_dim * sizeof(Out) + row_padding_bytes;
  if (!load_targets(s, t))
    return;
  find_chunks(16 / sizeof(Out), s.x.dims.page_tokens, t);
  const bool summaries = Summaries && s.layout.parts != summary_none && t.full_count > 0;
  const std::uint32_t end = min((blockIdx.y + 1) * s.heads, s.x.dims.kv_heads);
  for (std::uint32_t head = blockIdx.y * s.heads; head < end; ++head) {
    take_rows<In, Out>(s, t, head, at, rows, row_bytes);
    __syncthreads();
    if (summaries)
      summarise_full<true, Out>(s, t, head, at, rows, row_bytes);
    put_columns<Out>(s, t, head, at, rows, row_bytes);
    __syncthreads();
    if (summaries)
      summarise_full<false, Out>(s, t, head, at, rows, row_bytes);
  }
}

/// Encodes the pages that the targets of a block have filled.
template <class T, form Target, int Vectors>
__global__ void __launch_bounds__(tuning.threads, sizeof(T) == 2 ? 6 : 4)
    copy_kernel(const __grid_constant__ encode_shape s, const append_target* targets,
                const append_completion* completions, std::uint32_t count) {
  constexpr int warps = tuning.threads / 32;
  const std::uint32_t first = blockIdx.x * tuning.stretch;
  for (std::uint32_t i = first; i < min(first + tuning.stretch, count); ++i) {
    if (targets[i].slot != s.dims.page_tokens - 1)
      continue;
    const append_completion to = completions[i];
    if (to.coded == nullptr)
      continue;
    lane_quality k, v;
    encode_page<Target, Vectors, 4, warps, T>(s, targets[i].page, to.coded, s.dims.page_tokens, k,
                                              v);
    write_errors<warps>(k, v, to.errors);
    __syncthreads();
  }
}

bool starts_at_16_bytes(const tensor_ref& x) noexcept {
  const std::size_t n = size_of(x.type);
  return (reinterpret_cast<std::uintptr_t>(x.data) | x.row_stride * n | x.head_stride * n) % 16
         == 0;
}

template <bool Summaries>
result<void> launch_append(append_shape s, CUstream_st* stream) {
  const append_launch& x = s.x;
  if (auto ok = check_dims("append", x.dims); !ok)
    return ok;
  if (!is_raw(x.stored) || x.k.type != x.v.type)
    return pikv::error{errc::invalid_argument,
                       "append: needs raw pages, and k and v of one element type"};
  if (x.count == 0)
    return {};
  s.offsets = offsets_of(x.dims);
  s.aligned = starts_at_16_bytes(x.k) && starts_at_16_bytes(x.v);
  const std::size_t element = x.stored == form::f32 ? 4 : 2;
  const bool is_short = x.count <= tuning.short_list;
  s.stretch = is_short ? tuning.short_stretch : tuning.stretch;
  s.heads = x.count >= tuning.long_list ? tuning.heads : 1;
  const std::size_t shared =
      (s.stretch + x.dims.page_tokens - 1) * (x.dims.head_dim * element + row_padding_bytes);
  const dim3 grid((x.count + s.stretch - 1) / s.stretch, (x.dims.kv_heads + s.heads - 1) / s.heads);
  pikv::error failed;
  with_raw(raw_form(x.k.type), [&](auto in) {
    with_raw(x.stored, [&](auto out) {
      auto kernel = append_kernel<decltype(in), decltype(out), Summaries>;
      if (auto r = allow_shared_memory(reinterpret_cast<const void*>(kernel), shared); !r) {
        failed = r.error();
        return;
      }
      kernel<<<grid, tuning.threads, shared, stream>>>(s);
    });
  });
  if (failed.code != errc::ok)
    return failed;
  return check_launch("append");
}

result<void> copy_full_pages(const append_complete_launch& x, CUstream_st* stream) {
  const append_launch& a = x.append;
  const encode_shape s = encode_shape_of(a.dims);
  const std::uint32_t blocks = (a.count + tuning.stretch - 1) / tuning.stretch;
  with_raw(a.stored, [&](auto tag) {
    using T = decltype(tag);
    const auto launch = [&](auto kernel) {
      kernel<<<blocks, tuning.threads, 0, stream>>>(s, a.targets, x.completions, a.count);
    };
    const bool small = s.k_group_log2 == 3;
    if (x.coded == form::int8)
      small ? launch(copy_kernel<T, form::int8, 1>) : launch(copy_kernel<T, form::int8, 2>);
    else if (x.coded == form::int4)
      small ? launch(copy_kernel<T, form::int4, 1>) : launch(copy_kernel<T, form::int4, 2>);
    else
      launch(copy_kernel<T, form::fp8, 1>);
  });
  return check_launch("append copies");
}

} // namespace

result<void> append(const append_launch& x, CUstream_st* stream) {
  append_shape s;
  s.x = x;
  return launch_append<false>(s, stream);
}

result<void> append_complete(const append_complete_launch& x, CUstream_st* stream) {
  if (x.with_copies && is_raw(x.coded))
    return pikv::error{errc::invalid_argument, "append: encoded copies are int8, int4 or fp8"};
  append_shape s;
  s.x = x.append;
  s.completions = x.completions;
  s.layout = summary_layout_of(s.x.dims, x.parts);
  if (auto ok = launch_append<true>(s, stream); !ok || !x.with_copies || s.x.count == 0)
    return ok;
  return copy_full_pages(x, stream);
}

} // namespace pikv::gpu::cuda
