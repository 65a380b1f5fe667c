// SPDX-License-Identifier: Apache-2.0
/// \file
/// The CUDA backend: pages in device memory, scratch in pinned host memory that the GPU reaches, so
/// that routers read scores and partials where kernels left them. Logical device i lives on GPU
/// i mod (number of GPUs).
#pragma once

#include <memory>

#include <pikv/gpu/device.hpp>
#include <pikv/messages/error.hpp>

namespace pikv::gpu::cuda {

/// Takes both budgets at once: allocations on a running GPU would stop it. errc::unsupported where
/// there is no GPU or driver, or one without the peer access that is required, errc::over_budget
/// where the budgets do not fit.
result<std::shared_ptr<device>> make_cuda_device(const device_options& options);

/// The kernels of this backend; their executor must be a launch_queue.
const kernel_table& cuda_kernels() noexcept;

} // namespace pikv::gpu::cuda
