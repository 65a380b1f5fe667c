// SPDX-License-Identifier: Apache-2.0
/// \file
/// How kernels of the CUDA backend reach what the kernel table's callers pass by host pointers:
/// tensors and arrays that the GPU cannot read are copied through the queue's staging memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <vector>

#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv::gpu::cuda {

/// The GPU whose memory the address is of; -1: the host's.
int gpu_of(const void* p) noexcept;

/// Whether the address is of a GPU's memory: near to its kernels, and not for the host to read.
bool in_device_memory(const void* p) noexcept;

/// `x` `[rows, heads, dim]` for a kernel to read: itself, or a dense copy that `flush` brings over.
tensor_ref readable(launch_queue& q, const tensor_ref& x, std::uint32_t rows, std::uint32_t heads,
                    std::uint32_t dim);

/// The same in f32, which holds every element type; errc::unsupported for tensors on the GPU.
result<tensor_ref> readable_f32(launch_queue& q, const tensor_ref& x, std::uint32_t rows,
                                std::uint32_t heads, std::uint32_t dim);

/// `n` elements at `p` for a kernel to read; null stays null.
template <class T>
const T* readable(launch_queue& q, const T* p, std::size_t n) {
  return p == nullptr || launch_queue::reachable(p) ? p : q.upload(std::span{p, n});
}

/// Rows `begin ... + count`.
struct row_range {
  std::uint32_t begin = 0, count = 0;
};

/// A tensor that a kernel writes, and its way back to the caller.
class writable_tensor {
public:
  writable_tensor(launch_queue& q, const tensor_ref& x, std::uint32_t rows, std::uint32_t heads,
                  std::uint32_t dim);
  const tensor_ref& device() const noexcept { return device_; }
  /// Waits, and copies these rows to the caller where they were staged.
  result<void> bring_back(std::span<const row_range> written);

private:
  launch_queue& queue_;
  tensor_ref caller_, device_;
  std::uint32_t rows_, heads_, dim_;
};

/// An array that a kernel writes, and its way back; null stays null.
template <class T>
class writable_array {
public:
  writable_array(launch_queue& q, T* caller, std::size_t n)
      : queue_(q), caller_(caller), n_(n),
        device_(caller == nullptr || launch_queue::reachable(caller)
                    ? caller
                    : reinterpret_cast<T*>(q.reserve(n * sizeof(T)))) {}

  T* device() const noexcept { return device_; }

  /// Waits, and copies elements `begin ... + count` to the caller where they were staged.
  result<void> bring_back(std::size_t begin, std::size_t count) {
    if (device_ == caller_ || count == 0)
      return {};
    auto from =
        queue_.fetch(reinterpret_cast<const std::byte*>(device_ + begin), count * sizeof(T));
    if (!from)
      return from.error();
    std::memcpy(static_cast<void*>(caller_ + begin), *from, count * sizeof(T));
    return {};
  }
  result<void> bring_back() { return bring_back(0, n_); }

private:
  launch_queue& queue_;
  T* caller_;
  std::size_t n_;
  T* device_;
};

/// Runs one kernel's launch; what goes wrong is remembered by the queue.
template <class F>
void guarded(executor& x, F&& f) noexcept {
  auto& q = queue_of(x);
  q.begin();
  try {
    if (result<void> r = f(q); !r)
      q.fail(r.error());
  } catch (const std::exception& e) {
    q.fail({errc::over_budget, e.what()});
  }
}

} // namespace pikv::gpu::cuda
