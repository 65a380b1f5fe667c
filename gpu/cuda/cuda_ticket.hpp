// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tickets on CUDA: words of mapped host memory, waited for by cuStreamWaitValue32.
///
/// In mapped memory, not on the device, so that the host can end every wait by a store, without the
/// GPU's help: at the latest when the deadline of the request has passed. A wait for a word on the
/// device that only a stream could write would last for ever where the writer cannot start.
/// Where kernels are loaded lazily (CUDA_MODULE_LOADING other than EAGER) streams wait for events
/// instead: the first launch of a kernel drains the GPU, and would wait for a stream that waits.
#pragma once

#include <memory>

#include <pikv/gpu/ticket.hpp>

namespace pikv::gpu::cuda {

/// errc::over_budget where the system pins no more memory.
result<std::shared_ptr<ticket>> make_cuda_ticket(bool by_host);

} // namespace pikv::gpu::cuda
