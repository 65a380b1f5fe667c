// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention that each page of a sequence received, on a CUDA device:
/// `kernel_table::page_mass`.
#pragma once

#include <cstddef>
#include <cstdint>

#include <pikv/gpu/kernels.hpp>
#include <pikv/messages/error.hpp>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// Bytes of device memory that a launch works in.
std::size_t page_mass_workspace_bytes(const page_mass_args& x) noexcept;

/// Only enqueues, one or two kernels; all pointers are to device memory. The sums do not depend on
/// chance.
result<void> page_mass(const page_mass_args& x, std::byte* workspace, CUstream_st* stream);

} // namespace pikv::gpu::cuda
