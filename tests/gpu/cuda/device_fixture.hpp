// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pages and tensors for tests of the CUDA kernels.
#pragma once

#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/kernels.hpp>

#include "gpu/cuda/device_array.hpp"
#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv::test {

/// Blocks of bytes in one allocation, each aligned to 64.
class device_blocks {
public:
  device_blocks(std::size_t count, std::size_t bytes)
      : bytes_(bytes), stride_((bytes + 63) / 64 * 64), memory_(count * stride_) {}
  std::byte* at(std::size_t i) const { return memory_.data() + i * stride_; }
  std::vector<std::byte*> all() const {
    std::vector<std::byte*> x;
    for (std::size_t i = 0; stride_ > 0 && i < memory_.size() / stride_; ++i)
      x.push_back(at(i));
    return x;
  }
  void upload(std::size_t i, const std::byte* from) {
    expect_cuda(cudaMemcpy(at(i), from, bytes_, cudaMemcpyHostToDevice));
  }
  aligned_bytes download(std::size_t i) const {
    aligned_bytes x(bytes_);
    expect_cuda(cudaMemcpy(x.data(), at(i), bytes_, cudaMemcpyDeviceToHost));
    return x;
  }

private:
  std::size_t bytes_, stride_;
  device_array<std::byte> memory_;
};

/// A copy of host pages, and their summaries, in device memory.
struct device_pages {
  std::vector<device_array<std::byte>> memory;
  std::vector<gpu::page_view> views; ///< with device addresses
  device_array<gpu::page_view> table;

  device_pages(const gpu::cache_dims& dims, std::span<const gpu::page_view> host) {
    const auto copy = [&](const std::byte* from, std::size_t bytes) -> const std::byte* {
      if (from == nullptr)
        return nullptr;
      return memory.emplace_back(std::span<const std::byte>(from, bytes)).data();
    };
    for (gpu::page_view v : host) {
      v.data = copy(v.data, gpu::layout_of(dims, v.stored).page_bytes);
      v.summary = copy(v.summary, gpu::summary_layout_of(dims, v.summary_parts).bytes);
      views.push_back(v);
    }
    table = device_array<gpu::page_view>(views);
  }
};

/// A copy of a host tensor.
struct device_tensor {
  device_array<std::byte> memory;
  gpu::tensor_ref ref;

  device_tensor(const tensor& from, std::size_t elements)
      : memory(std::span<const std::byte>(from.ref.data, elements * size_of(from.ref.type))),
        ref(from.ref) {
    ref.data = memory.data();
  }
};

/// Calls f(head, slot, channel) for every stored value.
template <class F>
void for_values(const gpu::cache_dims& dims, std::size_t tokens, F f) {
  for (std::size_t h = 0; h < dims.kv_heads; ++h)
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        f(h, t, c);
}

inline std::uint32_t between(std::mt19937_64& rng, std::uint32_t low, std::uint32_t high) {
  return std::uniform_int_distribution<std::uint32_t>(low, high)(rng);
}

/// A shape at random: dims 32 to 256, pages 8 to 64, groups of 1 to 16.
inline gpu::cache_dims random_dims(std::mt19937_64& rng) {
  constexpr std::uint32_t dims[] = {32, 64, 96, 128, 128, 256};
  const std::uint32_t heads = between(rng, 1, 5);
  return {heads * (1U << between(rng, 0, 4)), heads, dims[between(rng, 0, 5)],
          8U << between(rng, 0, 3)};
}

/// f16 bit patterns as integers in the order of their values.
inline int f16_rank(std::uint16_t h) { return (h & 0x8000) != 0 ? -(h & 0x7FFF) : h; }

} // namespace pikv::test
