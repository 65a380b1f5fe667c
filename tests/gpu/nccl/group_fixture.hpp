// SPDX-License-Identifier: Apache-2.0
/// \file
/// A group over all GPUs, a stream for each, and device memory with random bytes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <pikv/gpu/transport/nccl/nccl_group.hpp>

namespace pikv::test {

using namespace std::chrono_literals;

using bytes = std::vector<std::byte>;

inline void expect_cuda(cudaError_t code) {
  ASSERT_EQ(code, cudaSuccess) << cudaGetErrorString(code);
}

inline bytes random_bytes(std::mt19937_64& rng, std::size_t n) {
  bytes x(n);
  for (std::size_t at = 0; at < n; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = rng();
    std::memcpy(x.data() + at, &word, std::min(sizeof word, n - at));
  }
  return x;
}

/// Bytes in the memory of one GPU, which copies no more than it has to: 0xFF until filled. The byte
/// behind the last is a guard.
class gpu_bytes {
public:
  gpu_bytes(int gpu, std::size_t n) : gpu_(gpu), size_(n) {
    expect_cuda(cudaSetDevice(gpu_));
    expect_cuda(cudaMalloc(reinterpret_cast<void**>(&data_), n + 1));
    expect_cuda(cudaMemset(data_, 0xFF, n + 1));
    expect_cuda(cudaDeviceSynchronize()); // cudaMemset may return before it is done
  }
  gpu_bytes(int gpu, const bytes& from) : gpu_bytes(gpu, from.size()) {
    expect_cuda(cudaMemcpy(data_, from.data(), from.size(), cudaMemcpyHostToDevice));
    expect_cuda(cudaDeviceSynchronize());
  }
  gpu_bytes(gpu_bytes&& x) noexcept
      : gpu_(x.gpu_), data_(std::exchange(x.data_, nullptr)), size_(x.size_) {}
  gpu_bytes& operator=(gpu_bytes&&) = delete;
  ~gpu_bytes() { cudaFree(data_); }

  std::byte* data() const noexcept { return data_; }
  bytes download() const {
    bytes x(size_ + 1);
    expect_cuda(cudaMemcpy(x.data(), data_, x.size(), cudaMemcpyDeviceToHost));
    EXPECT_EQ(x.back(), std::byte{0xFF}) << "written behind the end";
    x.pop_back();
    return x;
  }

private:
  int gpu_;
  std::byte* data_ = nullptr;
  std::size_t size_;
};

/// Needs `least` GPUs: skips with fewer, and ends the program if it hangs.
class nccl_test : public testing::Test {
protected:
  explicit nccl_test(int least = 1) : least_(least) {}

  void SetUp() override {
    int found = 0;
    const auto code = cudaGetDeviceCount(&found);
    if (code != cudaSuccess || found < least_)
      GTEST_SKIP() << "needs " << least_ << " GPUs, found " << found << ": "
                   << cudaGetErrorString(code);
    alarm(100);
    gpus.resize(static_cast<std::size_t>(found));
    std::iota(gpus.begin(), gpus.end(), 0);
    for (const int gpu : gpus) {
      expect_cuda(cudaSetDevice(gpu));
      expect_cuda(cudaStreamCreateWithFlags(&streams.emplace_back(), cudaStreamNonBlocking));
    }
    auto made = gpu::transport::nccl_group::make(gpus);
    ASSERT_TRUE(made.ok()) << made.error().what;
    group = std::move(*made);
  }

  void TearDown() override {
    group.reset();
    for (auto* stream : streams)
      cudaStreamDestroy(stream);
    alarm(0);
  }

  int ranks() const { return static_cast<int>(gpus.size()); }

  result<void> exchange_and_wait(std::span<const gpu::transport::exchange> exchanges) {
    if (auto r = group->exchange_all(exchanges, streams); !r)
      return r;
    return group->wait(streams, std::chrono::steady_clock::now() + 30s);
  }

  std::vector<int> gpus;
  std::vector<cudaStream_t> streams;
  std::unique_ptr<gpu::transport::nccl_group> group;

private:
  const int least_;
};

} // namespace pikv::test
