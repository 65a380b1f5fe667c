// SPDX-License-Identifier: Apache-2.0
/// \file
/// Device memory, and pinned host memory of the same size where asked for, handed out in rounds: a
/// piece lies at the same offset in both. What the tasks of a stream took comes back in their
/// order, once the GPU has ended them. It belongs to one stream's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

class staging_ring {
public:
  enum class host_copy : bool { no, yes };
  /// On the current GPU. Without a host copy `host` and `copy_new` are not to be called.
  static result<staging_ring> make(std::size_t bytes, host_copy with = host_copy::yes);
  staging_ring(staging_ring&& x) noexcept;
  staging_ring(const staging_ring&) = delete;
  staging_ring& operator=(const staging_ring&) = delete;
  ~staging_ring();

  std::size_t bytes() const noexcept { return bytes_; }
  std::byte* host(std::size_t offset) const noexcept { return host_ + offset; }
  std::byte* device(std::size_t offset) const noexcept { return device_ + offset; }
  bool holds(const std::byte* device) const noexcept {
    return device >= device_ && device < device_ + bytes_;
  }

  /// A piece of the running task; none while earlier tasks have the room.
  std::optional<std::size_t> take(std::size_t bytes) noexcept;

  /// Ends the pieces of the running task, which has this number.
  void close(std::uint64_t task);
  /// Takes back the pieces of tasks up to this number.
  void release(std::uint64_t ended) noexcept;
  /// The task whose pieces come back next; none: the running task has all there is.
  std::optional<std::uint64_t> oldest() const noexcept;

  bool has_new() const noexcept { return copied_ < head_; }
  /// Enqueues copies to the device of what was taken since the last call.
  result<void> copy_new(CUstream_st* stream);

private:
  struct closed {
    std::uint64_t task, end;
  };

  staging_ring(std::byte* host, std::byte* device, std::size_t bytes) noexcept
      : host_(host), device_(device), bytes_(bytes) {}

  std::byte* host_;
  std::byte* device_;
  std::size_t bytes_;
  std::uint64_t head_ = 0, tail_ = 0, copied_ = 0; // count on for ever; modulo bytes_ is the place
  std::deque<closed> tasks_;
};

} // namespace pikv::gpu::cuda
