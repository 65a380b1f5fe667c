// SPDX-License-Identifier: Apache-2.0
/// \file
/// The operations of the CUDA driver that the runtime library lacks: words of memory that streams
/// write and wait for. The driver is looked up when first needed, so that programs start without
/// one.
#pragma once

#include <cstdint>

#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// Enqueues `*at = value`, visible to the host and to other streams after all earlier work of the
/// stream. `at` is device memory or mapped host memory, 4-byte aligned. errc::unsupported without a
/// driver that has it.
result<void> write_value(CUstream_st* stream, std::uint32_t* at, std::uint32_t value);

/// Lets the stream's later work wait until `static_cast<int32_t>(*at - value) >= 0`.
result<void> wait_value(CUstream_st* stream, std::uint32_t* at, std::uint32_t value);

/// Whether the process loads all kernels when their module is loaded. With kernels loaded at their
/// first launch a stream that waits for a word can stop the GPU for ever: the load waits for it.
bool loads_eagerly() noexcept;

} // namespace pikv::gpu::cuda
