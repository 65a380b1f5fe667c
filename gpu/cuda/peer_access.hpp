// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which GPUs of the process reach each other's memory. Thread-safe.
#pragma once

#include <pikv/messages/error.hpp>

namespace pikv::gpu::cuda {

/// Opens peer access between `gpu` and the GPUs that came before it, both ways, and makes it the
/// calling thread's. Where two GPUs have none: errc::unsupported when it is `required`, else no
/// error.
result<void> connect_to_peers(int gpu, bool required);

/// Whether kernels of `reader` may touch the memory of `owner`: the same GPU, or one that
/// `connect_to_peers` could connect it to.
bool can_read(int reader, int owner);

/// False for an address in the memory of a GPU that `reader` cannot read.
bool can_reach(int reader, const void* p) noexcept;

} // namespace pikv::gpu::cuda
