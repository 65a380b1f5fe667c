// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/cuda_stream.hpp>

#include <utility>

namespace pikv::gpu::cuda {

void cuda_stream::enqueue(task work, completion done, const char* label) {
  auto failed = std::make_shared<error>();
  thread_.enqueue(
      [work = std::move(work), failed, queue = queue_](executor& x) {
        queue->begin();
        work(x);
        *failed = queue->finish();
      },
      [done = std::move(done), failed](const result<void>& r) {
        if (done)
          done(r.ok() && failed->code != errc::ok ? result<void>{*failed} : r);
      },
      label);
}

} // namespace pikv::gpu::cuda
