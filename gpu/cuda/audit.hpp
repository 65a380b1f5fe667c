// SPDX-License-Identifier: Apache-2.0
/// \file
/// Coverage and output error of an attend against the full one, on a CUDA device:
/// `kernel_table::audit`.
#pragma once

#include <cstddef>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// Bytes of device memory that an audit works in.
std::size_t audit_workspace_bytes() noexcept;

/// Only enqueues, two kernels; all pointers, also coverage and output_error, are to device or
/// mapped memory. The sums do not depend on chance.
result<void> audit(const audit_args& x, std::byte* workspace, CUstream_st* stream);

} // namespace pikv::gpu::cuda
