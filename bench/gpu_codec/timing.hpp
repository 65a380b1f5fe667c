// SPDX-License-Identifier: Apache-2.0
/// \file
/// Device buffers with random contents, and times of launches from replayed graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include <pikv/messages/error.hpp>

namespace pikv::bench {

/// Ends the program with a message where a CUDA call failed.
void must(cudaError_t code, const char* what);
void must(const result<void>& x);

/// Bytes in device memory; filled with random f16 numbers around zero, all exponents ordinary.
class device_bytes {
public:
  explicit device_bytes(std::size_t n, bool random = true);
  template <class T>
  explicit device_bytes(std::span<const T> x) : device_bytes(x.size_bytes(), false) {
    must(cudaMemcpy(data_, x.data(), x.size_bytes(), cudaMemcpyHostToDevice), "upload");
  }
  device_bytes(device_bytes&& x) noexcept
      : data_(std::exchange(x.data_, nullptr)), size_(x.size_) {}
  device_bytes(const device_bytes&) = delete;
  device_bytes& operator=(const device_bytes&) = delete;
  device_bytes& operator=(device_bytes&&) = delete;
  ~device_bytes() { cudaFree(data_); }
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  template <class T>
  T* as(std::size_t offset_bytes = 0) const noexcept {
    return reinterpret_cast<T*>(data_ + offset_bytes);
  }

private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Median time of one of `launches` calls captured in a graph; `launch(i, stream)` enqueues call i,
/// which should use other buffers than call i - 1. Microseconds.
double median_us(int launches, int replays, const std::function<void(int, cudaStream_t)>& launch);

/// Time of a device copy that reads and writes `bytes` altogether. Microseconds.
double copy_us(std::size_t bytes);

struct row {
  std::string kernel, shape;
  double us = 0;
  double bytes = 0;   ///< read and written, each once
  double copy_us = 0; ///< a device copy of as many bytes, same run
};

/// Prints one row of the table, and keeps it for the JSON file.
void report(const row& x);
void print_header();
void write_json(const std::string& path);

} // namespace pikv::bench
