// SPDX-License-Identifier: Apache-2.0
#include "attend_check.hpp"

#include <cmath>

#include "device_memory.hpp"
#include "support/attention_reference.hpp"

namespace pikv::bench {

double relative_error(const gpu::cuda::attend_launch& launch, const gpu::cuda::attend_sequence& s,
                      std::vector<gpu::page_view> views, form stored, CUstream_st* stream) {
  const auto& dims = launch.dims;
  const std::size_t page_bytes = gpu::layout_of(dims, stored).page_bytes;
  std::vector<std::byte> pages(views.size() * page_bytes);
  for (std::size_t i = 0; i < views.size(); ++i) {
    std::byte* to = pages.data() + i * page_bytes;
    require(cudaMemcpyAsync(to, views[i].data, page_bytes, cudaMemcpyDefault, stream), "copy");
    views[i].data = to;
  }
  std::vector<std::byte> q(launch.rows * launch.q.row_stride * size_of(launch.q.type));
  std::vector<std::byte> out(launch.rows * launch.out.row_stride * size_of(launch.out.type));
  require(cudaMemcpyAsync(q.data(), launch.q.data, q.size(), cudaMemcpyDefault, stream), "copy");
  require(cudaMemcpyAsync(out.data(), launch.out.data, out.size(), cudaMemcpyDefault, stream),
          "copy");
  require(cudaStreamSynchronize(stream), "attend");
  gpu::attend_args args;
  args.dims = dims;
  args.scale = launch.scale;
  args.q = launch.q;
  args.q.data = q.data();
  gpu::sequence_rows rows;
  rows.settled = views;
  rows.row_begin = s.row_begin;
  rows.row_count = 1;
  rows.first_position = s.first_position;
  const std::size_t head = 13;
  const auto want = test::attend_row(args, rows, 0, head);
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < dims.head_dim; ++i) {
    const double got =
        test::element(out.data(), launch.out.type,
                      s.row_begin * launch.out.row_stride + head * launch.out.head_stride + i);
    error += (got - want.out[i]) * (got - want.out[i]);
    norm += want.out[i] * want.out[i];
  }
  return std::sqrt(error / norm);
}

} // namespace pikv::bench
