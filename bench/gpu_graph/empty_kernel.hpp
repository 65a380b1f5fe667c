// SPDX-License-Identifier: Apache-2.0
#pragma once

struct CUstream_st;

namespace pikv::bench {

/// Launches a kernel that does nothing; the caller looks at cudaGetLastError.
void launch_empty(CUstream_st* stream);

} // namespace pikv::bench
