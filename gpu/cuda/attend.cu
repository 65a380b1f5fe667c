// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/attend.hpp>

#include <algorithm>
#include <numbers>
#include <string>

#include <pikv/gpu/cuda/attend_kernel.cuh>
#include <pikv/gpu/cuda/held_forms.hpp>
#include <pikv/gpu/cuda/launch_chained.hpp>
#include <pikv/gpu/cuda/shared_memory.hpp>

namespace pikv::gpu::cuda {
namespace {

attend_function kernel_of(const cache_dims& dims, std::uint32_t column_tiles) {
  switch (dims.head_dim) {
  case 32: return attend_kernel_32(dims.page_tokens, column_tiles);
  case 64: return attend_kernel_64(dims.page_tokens, column_tiles);
  case 128: return attend_kernel_128(dims.page_tokens, column_tiles);
  default: return nullptr;
  }
}

result<void> check_shape(const cache_dims& dims) {
  if (dims.kv_heads == 0 || dims.query_heads % dims.kv_heads != 0)
    return {errc::invalid_argument, "CUDA attention: query_heads must be a multiple of kv_heads"};
  if (kernel_of(dims, 1) == nullptr)
    return {errc::invalid_argument,
            "CUDA attention has kernels for head_dim 32, 64 and 128 and page_tokens 8, 16, 32 and "
            "64, not for head_dim "
                + std::to_string(dims.head_dim) + " with page_tokens "
                + std::to_string(dims.page_tokens)};
  if (dims.group() == 0 || dims.group() > attend_max_columns)
    return {errc::invalid_argument,
            "CUDA attention takes 1 to 16 query heads for each KV head, not "
                + std::to_string(dims.group())};
  return {};
}

/// What a launch must know of the device.
struct device_limits {
  int blocks = 0;
  int shared_bytes = 0; ///< of one block
};

result<device_limits> limits_of_device() {
  int device = 0;
  device_limits x;
  PIKV_CUDA_TRY(cudaGetDevice(&device));
  PIKV_CUDA_TRY(cudaDeviceGetAttribute(&x.blocks, cudaDevAttrMultiProcessorCount, device));
  PIKV_CUDA_TRY(
      cudaDeviceGetAttribute(&x.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  x.blocks = std::min(x.blocks, static_cast<int>(attend_max_blocks));
  return x;
}

constexpr std::size_t counter_bytes = attend_max_blocks * sizeof(std::uint32_t);
constexpr std::size_t stats_bytes =
    std::size_t{attend_max_blocks} * 2 * attend_max_columns * 2 * sizeof(float);

void set_layouts(attend_kernel_args& args) {
  for (const form f : held_forms) {
    const page_layout x = layout_of(args.launch.dims, f);
    args.layouts[static_cast<std::size_t>(f)] = {
        static_cast<std::uint32_t>(x.v_offset), static_cast<std::uint32_t>(x.k_scale_offset),
        static_cast<std::uint32_t>(x.v_scale_offset), static_cast<std::uint32_t>(x.head_bytes)};
  }
}

/// Room in the ring for a tile of the largest form.
std::uint32_t largest_tile(const attend_kernel_args& args) {
  std::uint32_t bytes = 0;
  for (const attend_form_layout& x : args.layouts)
    bytes = std::max(bytes, align_shared(x.head_bytes));
  return bytes * attend_tile_tokens / args.launch.dims.page_tokens;
}

void set_workspace(attend_kernel_args& args) {
  std::byte* p = args.launch.workspace;
  args.counters = reinterpret_cast<std::uint32_t*>(p);
  args.partial_stats = reinterpret_cast<float*>(p + counter_bytes);
  args.partial_out = reinterpret_cast<float*>(p + counter_bytes + stats_bytes);
}

} // namespace

result<std::size_t> attend_workspace_bytes() {
  const auto limits = limits_of_device();
  if (!limits)
    return limits.error();
  return counter_bytes + stats_bytes
         + static_cast<std::size_t>(limits->blocks) * 2 * attend_max_columns * attend_max_head_dim
               * sizeof(float);
}

result<void> attend_prepare(const cache_dims& dims) {
  if (auto ok = check_shape(dims); !ok)
    return ok;
  const auto limits = limits_of_device();
  if (!limits)
    return limits.error();
  for (const std::uint32_t column_tiles : {1U, 2U})
    if (auto r = allow_shared_memory(reinterpret_cast<const void*>(kernel_of(dims, column_tiles)),
                                     static_cast<std::size_t>(limits->shared_bytes));
        !r)
      return r;
  return {};
}

result<void> attend(const attend_launch& x, CUstream_st* stream) {
  if (auto ok = attend_prepare(x.dims); !ok)
    return ok;
  if (x.sequence_count == 0 || x.rows == 0)
    return {};
  const auto limits = limits_of_device();
  if (!limits)
    return limits.error();
  attend_kernel_args args{};
  args.launch = x;
  args.group = x.dims.group();
  args.scale_log2 = x.scale * std::numbers::log2e_v<float>;
  const std::uint32_t wanted = x.selected ? 1 : std::max(1U, x.max_sequence_rows);
  const std::uint32_t column_tiles = args.group * wanted > 8 ? 2 : 1;
  args.tile_rows = std::min(wanted, 8 * column_tiles / args.group);
  args.columns = args.tile_rows * args.group;
  const std::uint32_t consumers = column_tiles == 1 ? consumer_warps<1> : consumer_warps<2>;
  const std::uint32_t producers = column_tiles == 1 ? producer_warps<1> : producer_warps<2>;
  const std::uint32_t ring = ring_offset(column_tiles, consumers, args.columns, x.dims.head_dim);
  const auto shared = static_cast<std::uint32_t>(limits->shared_bytes);
  set_layouts(args);
  if (shared < ring + largest_tile(args))
    return {errc::unsupported, "CUDA attention needs " + std::to_string(ring + largest_tile(args))
                                   + " bytes of shared memory for this shape, and the device has "
                                   + std::to_string(shared)};
  args.ring_bytes = (shared - ring) / shared_alignment * shared_alignment;
  set_workspace(args);
  return launch_chained(kernel_of(x.dims, column_tiles), "launch of attention",
                        dim3(static_cast<unsigned>(limits->blocks)), 32 * (consumers + producers),
                        ring + args.ring_bytes, args, stream);
}

} // namespace pikv::gpu::cuda
