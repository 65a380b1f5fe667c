// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/staging.hpp>

#include <cuda_runtime_api.h>

#include <pikv/gpu/host/half.hpp>

namespace pikv::gpu::cuda {

namespace {

/// Copies rows between two tensors of one element type.
void copy_rows(const tensor_ref& from, const tensor_ref& to, row_range rows, std::uint32_t heads,
               std::uint32_t dim) {
  const auto size = size_of(from.type);
  for (std::uint64_t r = rows.begin; r < std::uint64_t{rows.begin} + rows.count; ++r)
    for (std::uint64_t h = 0; h < heads; ++h)
      std::memcpy(to.data + (r * to.row_stride + h * to.head_stride) * size,
                  from.data + (r * from.row_stride + h * from.head_stride) * size, dim * size);
}

tensor_ref dense(std::byte* data, dtype type, std::uint32_t heads, std::uint32_t dim) noexcept {
  return {data, type, std::uint64_t{heads} * dim, dim};
}

} // namespace

int gpu_of(const void* p) noexcept {
  cudaPointerAttributes x{};
  if (cudaPointerGetAttributes(&x, p) != cudaSuccess) {
    cudaGetLastError(); // it must not be taken for one of a launch
    return -1;
  }
  return x.type == cudaMemoryTypeDevice ? x.device : -1;
}

bool in_device_memory(const void* p) noexcept { return gpu_of(p) >= 0; }

tensor_ref readable(launch_queue& q, const tensor_ref& x, std::uint32_t rows, std::uint32_t heads,
                    std::uint32_t dim) {
  if (launch_queue::reachable(x.data))
    return x;
  const auto copy = q.stage(std::size_t{rows} * heads * dim * size_of(x.type));
  copy_rows(x, dense(copy.host, x.type, heads, dim), {0, rows}, heads, dim);
  return dense(copy.device, x.type, heads, dim);
}

result<tensor_ref> readable_f32(launch_queue& q, const tensor_ref& x, std::uint32_t rows,
                                std::uint32_t heads, std::uint32_t dim) {
  if (x.type == dtype::f32)
    return readable(q, x, rows, heads, dim);
  if (launch_queue::reachable(x.data))
    return {errc::unsupported, "tensors on the GPU that belong together need one element type"};
  std::vector<float> copy;
  copy.reserve(std::size_t{rows} * heads * dim);
  for (std::uint64_t r = 0; r < rows; ++r)
    for (std::uint64_t h = 0; h < heads; ++h) {
      const auto* from =
          reinterpret_cast<const std::uint16_t*>(x.data) + r * x.row_stride + h * x.head_stride;
      for (std::uint32_t c = 0; c < dim; ++c)
        copy.push_back(x.type == dtype::f16 ? detail::f32_from_f16(from[c])
                                            : detail::f32_from_bf16(from[c]));
    }
  auto* device = const_cast<float*>(q.upload(std::span<const float>{copy}));
  return dense(reinterpret_cast<std::byte*>(device), dtype::f32, heads, dim);
}

writable_tensor::writable_tensor(launch_queue& q, const tensor_ref& x, std::uint32_t rows,
                                 std::uint32_t heads, std::uint32_t dim)
    : queue_(q), caller_(x), device_(x), rows_(rows), heads_(heads), dim_(dim) {
  if (!launch_queue::reachable(x.data))
    device_ =
        dense(q.reserve(std::size_t{rows} * heads * dim * size_of(x.type)), x.type, heads, dim);
}

result<void> writable_tensor::bring_back(std::span<const row_range> written) {
  if (device_.data == caller_.data)
    return {};
  auto from =
      queue_.fetch(device_.data, std::size_t{rows_} * heads_ * dim_ * size_of(caller_.type));
  if (!from)
    return from.error();
  const auto staged = dense(const_cast<std::byte*>(*from), caller_.type, heads_, dim_);
  for (const auto& rows : written)
    copy_rows(staged, caller_, rows, heads_, dim_);
  return {};
}

} // namespace pikv::gpu::cuda
