// SPDX-License-Identifier: Apache-2.0
/// \file
/// The host backend: memory of the machine, threads as streams, kernels in portable SIMD.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <pikv/gpu/device.hpp>
#include <pikv/messages/error.hpp>

namespace pikv::gpu {

/// Faults to inject, for tests of what stands on a device. A hook returns the error to fail with,
/// or one of code errc::ok. `nth` counts from 1, per arena and per stream. Hooks are called by
/// several threads at once.
struct fault_plan {
  std::function<error(arena_kind arena, std::uint64_t nth)> allocation;

  /// Before the task, on the stream's thread; a task that fails does not run.
  std::function<error(stream_role role, std::uint64_t nth)> task;
};

/// A plan that fails one allocation with errc::over_budget.
fault_plan fail_allocation(arena_kind arena, std::uint64_t nth);

/// A plan that fails one task of each stream of that role with errc::internal.
fault_plan fail_task(stream_role role, std::uint64_t nth);

/// errc::invalid_argument when an option is out of range, errc::overloaded when the system refuses
/// a thread. Blocks and streams of the device may outlive it.
result<std::shared_ptr<device>> make_host_device(const device_options& options,
                                                 fault_plan faults = {});

} // namespace pikv::gpu
