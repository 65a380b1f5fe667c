// SPDX-License-Identifier: Apache-2.0
// Pages of GPU 0 go to all other GPUs, as they do when they settle: by the movers of the transfer
// actor, checksums at both ends included, and as one block of as many bytes by NCCL.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <pikv/gpu/transport/nccl/nccl_group.hpp>
#include <pikv/gpu/transport/page_mover.hpp>

#include "decode_engine.hpp"
#include "gpu_streams.hpp"
#include "must.hpp"
#include "sections.hpp"

namespace pikv::bench {

namespace {

using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t page_bytes = std::size_t{64} << 10; // bf16, 16 tokens, 8 heads of 128
constexpr std::size_t move_pages = 512;                   // of one message: 32 MiB
constexpr int moves_each = 24;

/// Logical devices with pages, and the movers between them.
class page_traffic {
public:
  page_traffic(int gpus, move_path path) : gpus_(gpus) {
    std::vector<gpu::transport::end_point> ends;
    for (int g = 0; g < gpus; ++g) {
      gpu::device_options o;
      o.id = {static_cast<std::uint32_t>(g)};
      o.memory_bytes = std::size_t{1} << 30;
      o.scratch_bytes = std::size_t{64} << 20;
      devices_.push_back(must(gpu::make_device("cuda", o)));
      streams_.push_back(devices_.back()->make_stream(gpu::stream_role::copy));
      ends.push_back({devices_.back(), streams_.back().get()});
    }
    movers_ = must(gpu::transport::page_movers::make(path, std::move(ends)));
    for (int g = 1; g < gpus; ++g)
      for (int twice = 0; twice < 2; ++twice)
        moves_.push_back({{0}, {static_cast<std::uint32_t>(g)}, pages(0), pages(g), {}});
  }
  ~page_traffic() { movers_.synchronize(); }

  /// Starts every move again as soon as it has ended, two to each GPU at a time, until `more` says
  /// no. Returns GB/s.
  double run(const std::function<bool(int started)>& more) {
    const auto begin = steady::now();
    for (auto& m : moves_)
      start(m, more);
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, 60s, [this] { return in_flight_ == 0; }))
      stop({errc::deadline_exceeded, "moves of pages did not end"});
    const double seconds = std::chrono::duration<double>(steady::now() - begin).count();
    return static_cast<double>(ended_) * static_cast<double>(move_pages * page_bytes) / seconds / 1e9;
  }

  /// Starts a move whenever `gb_per_s` is due, until `on` is false. Returns GB/s.
  double paced(double gb_per_s, const std::atomic<bool>& on) {
    const auto begin = steady::now();
    const std::chrono::duration<double> interval{
        static_cast<double>(move_pages * page_bytes) / (gb_per_s * 1e9)};
    const auto once = [](int) { return true; };
    int n = 0;
    for (; on.load(); ++n) {
      start(moves_[static_cast<std::size_t>(n) % moves_.size()], once, false);
      std::this_thread::sleep_until(begin + (n + 1) * interval);
    }
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, 60s, [this] { return in_flight_ == 0; }))
      stop({errc::deadline_exceeded, "moves of pages did not end"});
    const double seconds = std::chrono::duration<double>(steady::now() - begin).count();
    return n * static_cast<double>(move_pages * page_bytes) / seconds / 1e9;
  }

private:
  std::vector<gpu::block> pages(int g) {
    std::vector<gpu::block> x;
    for (std::size_t i = 0; i < move_pages; ++i)
      x.push_back(must(devices_[static_cast<std::size_t>(g)]->memory().allocate(page_bytes)));
    return x;
  }

  void start(gpu::transport::page_move& m, const std::function<bool(int)>& more,
             bool again = true) {
    {
      const std::lock_guard lock{mutex_};
      if (!more(started_))
        return;
      ++started_;
      ++in_flight_;
    }
    m.deadline = steady::now() + 30s;
    const auto mover = movers_.between(m.source, m.target);
    mover->stream_to(m.target).enqueue(
        [&m, mover](gpu::executor& x) {
          if (auto r = mover->move(m, x); !r)
            stop(r.error());
        },
        [this, &m, &more, again](const result<void>& r) {
          if (!r)
            stop(r.error());
          if (again)
            start(m, more);
          const std::lock_guard lock{mutex_};
          ++ended_;
          if (--in_flight_ == 0)
            changed_.notify_all();
        },
        "move");
  }

  int gpus_;
  std::vector<std::shared_ptr<gpu::device>> devices_;
  std::vector<std::unique_ptr<gpu::stream>> streams_;
  gpu::transport::page_movers movers_;
  std::vector<gpu::transport::page_move> moves_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int started_ = 0, ended_ = 0, in_flight_ = 0;
};

double settle_rate(int gpus, move_path path) {
  page_traffic warm_and_timed(gpus, path);
  warm_and_timed.run([gpus](int n) { return n < 2 * (gpus - 1); });
  page_traffic x(gpus, path);
  return x.run([gpus](int n) { return n < moves_each * (gpus - 1); });
}

/// GB/s of grouped sends from rank 0 to every other, each of as many bytes as one move has.
double raw_nccl_rate(int gpus) {
  std::vector<int> ids;
  std::vector<gpu_stream> streams;
  std::vector<cudaStream_t> handles;
  std::vector<device_memory> memory;
  for (int g = 0; g < gpus; ++g) {
    ids.push_back(g);
    handles.push_back(streams.emplace_back(g).stream);
    const on_gpu here(g);
    memory.emplace_back(move_pages * page_bytes * static_cast<std::size_t>(g == 0 ? gpus : 1));
  }
  auto group = must(gpu::transport::nccl_group::make(ids));
  std::vector<gpu::transport::exchange> x;
  for (int g = 1; g < gpus; ++g)
    x.push_back({0, g, memory[0].as() + static_cast<std::size_t>(g) * move_pages * page_bytes,
                 memory[static_cast<std::size_t>(g)].as(), move_pages * page_bytes});
  const auto timed = [&](int calls) {
    const auto begin = steady::now();
    for (int i = 0; i < calls; ++i)
      if (auto r = group->exchange_all(x, handles); !r)
        stop(r.error());
    if (auto r = group->wait(handles, steady::now() + 30s); !r)
      stop(r.error());
    return std::chrono::duration<double>(steady::now() - begin).count();
  };
  timed(2);
  const double bytes =
      static_cast<double>(move_pages * page_bytes) * (gpus - 1) * moves_each;
  return bytes / timed(moves_each) / 1e9;
}

} // namespace

void measure_settling(int gpus, report& out) {
  out.section("Settle traffic: pages of 64 KiB from GPU 0 to all others");
  const double raw = raw_nccl_rate(gpus);
  out.add("raw NCCL send and receive, blocks of 32 MiB", gpus, raw, "GB/s");
  for (const auto& [path, name] :
       {std::pair{move_path::peer, "peer copies"}, std::pair{move_path::nccl, "NCCL"}}) {
    const double rate = settle_rate(gpus, path);
    out.add(fmt::format("pages by {}, verified", name), gpus, rate, "GB/s");
    out.add(fmt::format("pages by {}: of raw NCCL", name), gpus, rate / raw, "",
            path == move_path::peer ? std::optional{target{0.75, false}} : std::nullopt);
  }
  decode_options o;
  o.shape.layers = 4;
  o.chunk = 4096;
  o.devices = static_cast<std::uint32_t>(gpus);
  o.actor_threads = 4;
  o.tune = [](config::settings& s) { s.cache.shards = 8; };
  decode_engine engine{o};
  engine.fill();
  page_traffic traffic(gpus, move_path::peer);
  const auto quiet = [&] { return engine.layer_us(true, 31); };
  const auto beside = [&](const std::function<double(const std::atomic<bool>&)>& moves,
                          const char* what, std::optional<target> t) {
    const double before = quiet();
    std::atomic<bool> on{true};
    double rate = 0;
    std::thread mover([&] { rate = moves(on); });
    const double us = engine.layer_us(true, 31);
    on = false;
    mover.join();
    const double alone = (before + quiet()) / 2;
    out.add("decode of 8 x 32k, one layer, nothing else", gpus, alone, "us");
    out.add(fmt::format("slower by, {}: {:.0f} GB/s", what, rate), gpus, us / alone, "times", t);
  };
  beside([&](const auto& on) { return traffic.paced(10, on); }, "pages settle as a prefill of 75k tokens/s sends them",
         target{1.05});
  beside([&](const auto& on) { return traffic.run([&](int) { return on.load(); }); },
         "pages settle without a pause", {});
}

} // namespace pikv::bench
