// SPDX-License-Identifier: Apache-2.0
// How late an actor hears that a GPU has done a task. The task launches an empty kernel. When the
// GPU ends is not seen from outside, so two times are compared: from the task's call, in which the
// kernel is launched, to the actor's handler of the task's end, as the runtime's actors do it
// (actors/jobs.hpp); and what the same launch takes a thread that calls CUDA and waits in
// cudaStreamSynchronize. The difference is what the way from the GPU to the actor adds over that
// wait. The whole round trip, from the call that enqueues the task, is shown too.
//
//   gpu_completion_bench [--runs 5000] [--gaps 0,200]
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <fmt/format.h>

#include <pikv/actors/jobs.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/device.hpp>

#include "device_memory.hpp"
#include "empty_kernel.hpp"
#include "must.hpp"

namespace pikv::bench {
namespace {

using steady = std::chrono::steady_clock;
using microseconds = std::chrono::duration<double, std::micro>;

constexpr int warm_ups = 200;

/// The task, and how long its last round trip took: from where a call began, or the task itself.
struct probe_task {
  gpu::stream& stream;
  bool from_task = false;
  steady::time_point called{};    ///< by the stream's thread
  std::atomic<double> took_us{0}; ///< 0: on its way

  void run(gpu::executor& x) {
    called = steady::now();
    launch_empty(gpu::cuda::queue_of(x).stream());
    require(cudaGetLastError(), "empty kernel");
  }
  void ended(steady::time_point begin) {
    took_us.store(microseconds(steady::now() - (from_task ? called : begin)).count(),
                  std::memory_order_release);
  }
  /// Begins a round trip, and spins until it has ended.
  double trip(const std::function<void()>& begin) {
    took_us.store(0, std::memory_order_relaxed);
    begin();
    double us = 0;
    while ((us = took_us.load(std::memory_order_acquire)) == 0) {
    }
    return us;
  }
};

using probe_actor = caf::typed_actor<caf::reacts_to<tick_atom>, caf::reacts_to<stream_done>>;

struct probe_state {
  probe_state() = default;
  static inline const char* name = "probe";
  job_list jobs;
};

probe_actor::behavior_type behaviour(probe_actor::stateful_pointer<probe_state> self,
                                     probe_task* task) {
  return {
      [=](tick_atom) {
        const auto begin = steady::now();
        self->state.jobs.launch(
            self, task->stream, "empty", [task](gpu::executor& x, error&) { task->run(x); },
            [task, begin] { task->ended(begin); }, [](const error& why) { stop(why); });
      },
      [=](const stream_done& x) { self->state.jobs.finish(x); },
  };
}

/// The runtime's scheduler with `runtime.latency: low` and its default of one thread.
struct actor_config : caf::actor_system_config {
  actor_config() {
    add_message_types<caf::id_block::pikv>();
    set("scheduler.max-threads", std::size_t{1});
    set("work-stealing.aggressive-poll-attempts", std::size_t{1'000'000});
    set("logger.console", caf::atom("none"));
  }
};

struct distribution {
  double p50 = 0, p99 = 0;
};

/// Of `runs` round trips, each begun `gap` after the end of the one before.
distribution measure(int runs, std::chrono::microseconds gap, const std::function<double()>& trip) {
  std::vector<double> us;
  for (int i = 0; i < warm_ups + runs; ++i) {
    const double x = trip();
    if (i >= warm_ups)
      us.push_back(x);
    for (const auto until = steady::now() + gap; steady::now() < until;) {
    }
  }
  std::ranges::sort(us);
  return {us[us.size() / 2], us[us.size() * 99 / 100]};
}

distribution line(const char* what, const distribution& x) {
  fmt::print("  {:66}{:10.1f}{:10.1f}\n", what, x.p50, x.p99);
  std::fflush(stdout);
  return x;
}

/// The launch and cudaStreamSynchronize by one thread, nothing of PiKV.
double floor_us(cudaStream_t stream) {
  const auto begin = steady::now();
  launch_empty(stream);
  require(cudaGetLastError(), "empty kernel");
  require(cudaStreamSynchronize(stream), "synchronise");
  return microseconds(steady::now() - begin).count();
}

struct bench_state {
  probe_task& task;
  probe_actor actor;
  cudaStream_t plain; ///< a stream of the bench's own
};

void measure_gap(const bench_state& b, int runs, std::chrono::microseconds gap) {
  auto& task = b.task;
  fmt::print("{} us between round trips\n", gap.count());
  const auto floor = line("launch + cudaStreamSynchronize, one thread",
                          measure(runs, gap, [&] { return floor_us(b.plain); }));
  const auto by_thread = [&] {
    return task.trip([&] {
      const auto begin = steady::now();
      task.stream.enqueue([&](gpu::executor& x) { task.run(x); },
                          [&task, begin](const result<void>& r) {
                            if (!r)
                              stop(r.error());
                            task.ended(begin);
                          },
                          "empty");
    });
  };
  const auto by_actor = [&] {
    return task.trip([&] { caf::anon_send(b.actor, tick_atom_v); });
  };
  task.from_task = false;
  line("whole round trip: enqueue -> completion", measure(runs, gap, by_thread));
  line("whole round trip: job_list.launch -> the actor's handler", measure(runs, gap, by_actor));
  task.from_task = true;
  const auto completion = line("the task's call -> completion", measure(runs, gap, by_thread));
  const auto handler = line("the task's call -> the actor's handler", measure(runs, gap, by_actor));
  line("completion, less the floor's median",
       {completion.p50 - floor.p50, completion.p99 - floor.p50});
  line("actor's handler, less the floor's median",
       {handler.p50 - floor.p50, handler.p99 - floor.p50});
}

int run(int runs, const std::vector<int>& gaps) {
  gpu::device_options o;
  o.memory_bytes = o.scratch_bytes = std::size_t{64} << 20;
  o.spin = std::chrono::microseconds{2000}; // as with runtime.latency: low
  auto device = gpu::make_device("cuda", o);
  if (!device)
    stop(device.error());
  auto stream = (*device)->make_stream(gpu::stream_role::compute);
  if (!stream)
    stop({errc::io_failed, "the device gives no stream"});
  probe_task task{*stream};
  cudaStream_t plain = nullptr;
  require(cudaStreamCreateWithFlags(&plain, cudaStreamNonBlocking), "stream");
  require(cudaDeviceSynchronize(), "set-up");
  fmt::print("{}\n", (*device)->describe());
  fmt::print("Round trips of a task that launches an empty kernel, {} of each kind.\n", runs);
  fmt::print("  {:66}{:>10}{:>10}\n", "us", "p50", "p99");
  actor_config config;
  caf::actor_system system{config};
  const auto actor = system.spawn(behaviour, &task);
  for (const int gap : gaps)
    measure_gap({task, actor, plain}, runs, std::chrono::microseconds{gap});
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  system.await_all_actors_done();
  stream.reset();
  require(cudaStreamDestroy(plain), "stream");
  return 0;
}

} // namespace
} // namespace pikv::bench

int main(int argc, char** argv) {
  int runs = 5000;
  std::vector<int> gaps{0, 200};
  CLI::App app{"How late an actor hears that a GPU has done a task"};
  app.add_option("--runs", runs)->check(CLI::Range(100, 1'000'000))->capture_default_str();
  app.add_option("--gaps", gaps, "Microseconds between round trips")
      ->delimiter(',')
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fmt::print("no CUDA device: nothing was measured\n");
    return 77;
  }
  alarm(300); // a hang ends
  return pikv::bench::run(runs, gaps);
}
