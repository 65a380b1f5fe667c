// SPDX-License-Identifier: Apache-2.0
/// \file
/// The forms of pages that the CUDA kernels encode and read (`device::forms`).
#pragma once

#include <pikv/messages/types.hpp>

namespace pikv::gpu::cuda {

inline constexpr form held_forms[] = {form::f16, form::bf16, form::int8, form::int4, form::fp8};

} // namespace pikv::gpu::cuda
