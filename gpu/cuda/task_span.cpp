// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/task_span.hpp>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define PIKV_HAS_NVTX
#endif

#include <pikv/gpu/trace.hpp>

namespace pikv::gpu::cuda {

namespace {

using clock = trace::clock;

/// Distances between events are floats of milliseconds, exact to 0.1 us up to here; and the GPU's
/// clock drifts from the host's by some us a second.
constexpr auto longest_use = std::chrono::seconds{1};
constexpr int tries = 5;
/// At most so long after an event a thread that waits for it goes on.
constexpr auto notice = std::chrono::microseconds{5};

/// False where CUDA refused. Its error must not be taken for one of a launch.
bool good(cudaError_t code) noexcept {
  if (code != cudaSuccess)
    cudaGetLastError();
  return code == cudaSuccess;
}

cudaEvent_t make_event() noexcept {
  cudaEvent_t x = nullptr;
  return good(cudaEventCreate(&x)) ? x : nullptr;
}

/// A moment of the GPU whose time on the host is known.
struct known_moment {
  cudaEvent_t event = make_event();
  clock::time_point at;

  known_moment() = default;
  known_moment(const known_moment&) = delete;
  known_moment& operator=(const known_moment&) = delete;
  ~known_moment() {
    if (event != nullptr)
      good(cudaEventDestroy(event));
  }
};
using moment_ptr = std::shared_ptr<const known_moment>;

/// Relates one GPU's clock to the host's.
class gpu_clock {
public:
  /// A moment at most `longest_use` ago, null where CUDA refuses. Blocks for some 10 us when there
  /// is none. The calling thread's GPU is this one.
  moment_ptr recent() {
    const std::lock_guard guard(lock_);
    if (!last_ || clock::now() - last_->at > longest_use)
      last_ = take();
    return last_;
  }

private:
  /// The event lies between two looks at the host's clock: the closest pair of a few counts. Where
  /// they are far apart, other streams' work came first, and the event lies near the second.
  moment_ptr take() {
    int least = 0, greatest = 0;
    good(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    if (stream_ == nullptr
        && !good(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest)))
      return nullptr;
    moment_ptr best;
    auto closest = clock::duration::max();
    for (int i = 0; i < tries; ++i) {
      auto x = std::make_shared<known_moment>();
      const auto before = clock::now();
      if (x->event == nullptr || !good(cudaEventRecord(x->event, stream_))
          || !good(cudaEventSynchronize(x->event)))
        return nullptr;
      const auto after = clock::now();
      const auto apart = after - before;
      x->at = after - std::min<clock::duration>(apart / 2, notice);
      if (apart < closest) {
        closest = apart;
        best = std::move(x);
      }
    }
    return best;
  }

  std::mutex lock_; // guards the rest
  cudaStream_t stream_ = nullptr;
  moment_ptr last_;
};

/// Clocks live as long as the process: streams of static objects may end after everything else.
gpu_clock& clock_of(int gpu) {
  static std::mutex lock;
  static auto& clocks = *new std::map<int, gpu_clock>;
  const std::lock_guard guard(lock);
  return clocks[gpu];
}

clock::duration milliseconds(float x) {
  return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double, std::milli>(x));
}

} // namespace

struct gpu_timeline::state {
  state(int g, const std::string& stream_name)
      : gpu(g), track(fmt::format("{} on GPU {}", stream_name, g)) {}
  ~state() {
    for (auto* e : spare)
      good(cudaEventDestroy(e));
  }

  cudaEvent_t take_event() {
    {
      const std::lock_guard guard(lock);
      if (!spare.empty()) {
        auto* e = spare.back();
        spare.pop_back();
        return e;
      }
    }
    return make_event();
  }

  const int gpu;
  const trace::track track;
  std::mutex lock; // guards the rest
  std::vector<cudaEvent_t> spare;
  clock::time_point last_end; ///< of the spans reported
};

gpu_timeline::gpu_timeline(int gpu, const std::string& stream_name)
    : state_(std::make_shared<state>(gpu, stream_name)) {}

struct task_span::pending {
  std::shared_ptr<gpu_timeline::state> line;
  const char* label;
  moment_ptr base;
  cudaEvent_t begin = nullptr, end = nullptr;
  bool ended = false;

  pending(std::shared_ptr<gpu_timeline::state> l, const char* name)
      : line(std::move(l)), label(name), base(clock_of(line->gpu).recent()),
        begin(line->take_event()), end(line->take_event()) {}
  pending(const pending&) = delete;
  pending& operator=(const pending&) = delete;
  ~pending() {
    const std::lock_guard guard(line->lock);
    for (auto* e : {begin, end})
      if (e != nullptr)
        line->spare.push_back(e);
  }
};

task_span::task_span(const gpu_timeline& line) noexcept : line_(line.state_) {}
task_span::task_span(task_span&&) noexcept = default;
task_span& task_span::operator=(task_span&&) noexcept = default;
task_span::~task_span() = default;

void task_span::begin(const char* label, CUstream_st* stream) noexcept {
#ifdef PIKV_HAS_NVTX
  nvtxRangePushA(label);
#endif
  pending_.reset();
  if (!trace::on())
    return;
  try {
    auto x = std::make_unique<pending>(line_, label);
    if (x->base && x->begin != nullptr && x->end != nullptr
        && good(cudaEventRecord(x->begin, stream)))
      pending_ = std::move(x);
  } catch (...) {
    // No memory for a span: the task goes on without.
  }
}

void task_span::end(CUstream_st* stream) noexcept {
  if (pending_)
    pending_->ended = good(cudaEventRecord(pending_->end, stream));
#ifdef PIKV_HAS_NVTX
  nvtxRangePop();
#endif
}

void task_span::report() noexcept {
  const auto x = std::exchange(pending_, nullptr);
  float until = 0, length = 0;
  if (!x || !x->ended || !good(cudaEventElapsedTime(&until, x->base->event, x->begin))
      || !good(cudaEventElapsedTime(&length, x->begin, x->end)))
    return;
  auto& line = *x->line;
  const std::lock_guard guard(line.lock);
  // Spans of a stream do not overlap; two moments may disagree by a microsecond.
  const auto begin = std::max(x->base->at + milliseconds(until), line.last_end);
  line.last_end = std::max(begin, x->base->at + milliseconds(until + length));
  line.track.add(x->label, begin, line.last_end);
}

} // namespace pikv::gpu::cuda
