// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tests that need a GPU, and their device memory. What a test does not fill holds NaN bytes, so that
/// a value that was not written is seen.
#pragma once

#include <unistd.h>

#include <span>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace pikv::test {

/// A test that needs a GPU: skips without one, and ends the program if it hangs.
class gpu_test : public testing::Test {
protected:
  void SetUp() override {
    int devices = 0;
    if (const auto code = cudaGetDeviceCount(&devices); code != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device: " << cudaGetErrorString(code);
    alarm(100);
  }
};

inline void expect_cuda(cudaError_t code) {
  ASSERT_EQ(code, cudaSuccess) << cudaGetErrorString(code);
}

/// Waits for the device; fails the test on an error of a kernel.
inline void synchronise() { expect_cuda(cudaDeviceSynchronize()); }

/// `n` elements in device memory.
template <class T>
class device_array {
public:
  explicit device_array(std::size_t n = 0) : size_(n) {
    expect_cuda(cudaMalloc(reinterpret_cast<void**>(&data_), (n + 1) * sizeof(T)));
    expect_cuda(cudaMemset(data_, 0xFF, (n + 1) * sizeof(T)));
  }
  explicit device_array(std::span<const T> from) : device_array(from.size()) { upload(from); }
  explicit device_array(const std::vector<T>& from) : device_array(std::span<const T>(from)) {}
  device_array(device_array&& x) noexcept
      : data_(std::exchange(x.data_, nullptr)), size_(std::exchange(x.size_, 0)) {}
  device_array& operator=(device_array&& x) noexcept {
    std::swap(data_, x.data_);
    std::swap(size_, x.size_);
    return *this;
  }
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;
  ~device_array() { cudaFree(data_); }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  void upload(std::span<const T> from) {
    expect_cuda(cudaMemcpy(data_, from.data(), from.size_bytes(), cudaMemcpyHostToDevice));
  }
  void download(std::span<T> to) const {
    expect_cuda(cudaMemcpy(to.data(), data_, to.size_bytes(), cudaMemcpyDeviceToHost));
  }
  std::vector<T> download() const {
    std::vector<T> x(size_);
    download(x);
    return x;
  }

private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

} // namespace pikv::test
