// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whether a launch of gpu_attend_bench computed what it should have.
#pragma once

#include <vector>

#include <pikv/gpu/cuda/attend.hpp>

namespace pikv::bench {

/// Waits for the stream, then compares one query head of a sequence's only row with float64 over
/// `views`, the pages that it reads, of form `stored`: ||got - want|| / ||want||.
double relative_error(const gpu::cuda::attend_launch& launch, const gpu::cuda::attend_sequence& s,
                      std::vector<gpu::page_view> views, form stored, CUstream_st* stream);

} // namespace pikv::bench
