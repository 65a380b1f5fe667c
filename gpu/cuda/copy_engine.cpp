// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/copy.hpp>

#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

result<void> copy_by_engine(std::span<const copy_item> items, CUstream_st* stream) {
  if (items.empty())
    return {};
#if CUDART_VERSION >= 13000
  std::vector<void*> to;
  std::vector<const void*> from;
  std::vector<std::size_t> bytes;
  for (const auto& i : items) {
    to.push_back(i.to);
    from.push_back(i.from);
    bytes.push_back(i.bytes);
  }
  cudaMemcpyAttributes how{};
  how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  std::size_t first = 0;
  return check(cudaMemcpyBatchAsync(to.data(), from.data(), bytes.data(), to.size(), &how, &first,
                                    1, stream),
               "cudaMemcpyBatchAsync");
#else
  for (const auto& i : items)
    PIKV_CUDA_TRY(cudaMemcpyAsync(i.to, i.from, i.bytes, cudaMemcpyDefault, stream));
  return {};
#endif
}

} // namespace pikv::gpu::cuda
