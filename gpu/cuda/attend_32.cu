// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/attend_kernel.cuh>

namespace pikv::gpu::cuda {

attend_function attend_kernel_32(std::uint32_t page_tokens, std::uint32_t column_tiles) {
  return column_tiles == 1 ? kernel_for_page<32, 1>(page_tokens)
                           : kernel_for_page<32, 2>(page_tokens);
}

} // namespace pikv::gpu::cuda
