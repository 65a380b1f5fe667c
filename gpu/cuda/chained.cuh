// SPDX-License-Identifier: Apache-2.0
/// \file
/// What kernels of a chain (launch_chained.hpp) say to each other; nothing before sm_90.
#pragma once

namespace pikv::gpu::cuda {

/// Lets the kernels of a chain start early and wait where they need what the one before wrote.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

} // namespace pikv::gpu::cuda
