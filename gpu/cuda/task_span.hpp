// SPDX-License-Identifier: Apache-2.0
/// \file
/// When the GPU began and ended a task, for traces (gpu/trace.hpp); and an NVTX range around the
/// time in which the task was enqueued, for profilers. While tracing is off no CUDA call is made.
///
///   gpu_timeline line(gpu, "pikv0.compute");        // one per stream
///   task_span span(line);                           // one per task, or used again for the next
///   span.begin("attend", stream); ... span.end(stream);
///   span.report();                                  // once the GPU has done the task
#pragma once

#include <memory>
#include <string>

struct CUstream_st;

namespace pikv::gpu::cuda {

/// The GPU's side of one stream: its track, "pikv0.compute on GPU 0", and timing events to reuse.
/// Making and destroying one does not select a GPU and calls nothing of CUDA before a span begins.
class gpu_timeline {
public:
  gpu_timeline(int gpu, const std::string& stream_name);

private:
  friend class task_span;
  struct state;
  std::shared_ptr<state> state_; // shared with spans on their way
};

/// One task's time on the GPU. Moves along with the task; one thread at a time uses it. `begin` and
/// `end` are called by one thread whose current GPU is the stream's, `report` by any. Nothing
/// throws; where CUDA refuses, the span is missing in the trace.
class task_span {
public:
  explicit task_span(const gpu_timeline& line) noexcept;
  task_span(task_span&&) noexcept;
  task_span& operator=(task_span&&) noexcept;
  ~task_span(); ///< a span that was not reported is forgotten

  /// Before the task's kernels. `label` lives as long as the process.
  void begin(const char* label, CUstream_st* stream) noexcept;
  /// After them, whatever became of the task.
  void end(CUstream_st* stream) noexcept;
  /// After the GPU has passed `end`; in the order of the tasks. Does not block.
  void report() noexcept;

private:
  struct pending;
  std::shared_ptr<gpu_timeline::state> line_;
  std::unique_ptr<pending> pending_; ///< null while nothing is recorded
};

} // namespace pikv::gpu::cuda
