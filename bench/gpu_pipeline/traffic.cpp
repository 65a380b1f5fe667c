// SPDX-License-Identifier: Apache-2.0
#include "traffic.hpp"

#include "layers.hpp"

namespace pikv::bench {

namespace {

constexpr std::size_t turns = 4;
constexpr std::size_t direction_bytes = turns * traffic::task_bytes;

} // namespace

traffic::traffic(gpu::device& device)
    : kernels_(device.kernels()), host_(must(device.scratch().allocate(host_bytes))),
      // Blocks on the device lie apart, as pages do.
      memory_(2 * 2 * direction_bytes), to_host_(make(device, memory_.as(), host_.data())),
      to_device_(make(device, host_.data() + direction_bytes, memory_.as() + 2 * direction_bytes)) {
  require(cudaDeviceSynchronize(), "set-up");
}

traffic::direction traffic::make(gpu::device& device, std::byte* from, std::byte* to) const {
  direction d;
  d.stream = device.make_stream(gpu::stream_role::copy);
  if (!d.stream)
    stop({errc::io_failed, "no stream for copies"});
  const std::size_t from_stride = from == memory_.as() ? 2 * block_bytes : block_bytes;
  const std::size_t to_stride = 3 * block_bytes - from_stride;
  for (std::size_t t = 0; t < turns; ++t) {
    auto& items = d.turns.emplace_back();
    for (std::size_t i = t * task_blocks; i < (t + 1) * task_blocks; ++i)
      items.push_back({from + i * from_stride, to + i * to_stride, block_bytes});
  }
  return d;
}

void traffic::enqueue(direction& d, int tasks) {
  for (int i = 0; i < tasks; ++i) {
    const auto& items = d.turns[static_cast<std::size_t>(i) % turns];
    d.stream->enqueue([this, &items](gpu::executor& x) { kernels_.copy(items, x); }, must_end,
                      "copy");
  }
  d.last = d.stream->record();
}

void traffic::enqueue(int tasks) {
  enqueue(to_host_, tasks);
  enqueue(to_device_, tasks);
}

void traffic::wait() {
  to_host_.stream->synchronize();
  to_device_.stream->synchronize();
}

} // namespace pikv::bench
