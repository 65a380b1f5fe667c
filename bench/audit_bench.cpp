// SPDX-License-Identifier: Apache-2.0
// What audits cost: decoding with the small model of examples/tiny_moe, block by block with and
// without audits in one run (A B B A), as the ratio of their times. The share of audits is reloaded
// between blocks, so everything else is the same process, cache and context. Beside the wall time
// stands the process's CPU time, which other work on the machine disturbs less.
//
//   audit_bench [MODEL_FOLDER] [BLOCKS] [SEQUENCES]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include <moe_engine/engine.hpp>
#include <moe_engine/files.hpp>
#include <moe_engine/pikv_store.hpp>
#include <pikv/actors/runtime.hpp>

namespace {

using namespace pikv;
using namespace pikv::moe_engine;
using steady = std::chrono::steady_clock;

constexpr std::uint32_t prompt = 1984;
constexpr std::uint32_t steps = 16; // of a block
constexpr double audit_share = 1.0 / 512;

[[noreturn]] void give_up(const error& e) {
  std::fprintf(stderr, "audit_bench: %s\n", e.what.c_str());
  std::exit(1);
}

template <class T>
T must(result<T> x) {
  if (!x)
    give_up(x.error());
  return std::move(*x);
}

/// Wall and CPU time in seconds.
struct cost {
  double wall = 0, cpu = 0;
  cost& operator+=(const cost& x) {
    wall += x.wall;
    cpu += x.cpu;
    return *this;
  }
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> x) {
  const auto mid = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), mid, x.end());
  return *mid;
}

/// Several sequences that are fed the same text, one after another in position.
class decoder {
public:
  decoder(const model& m, kv_store& kv, thread_team& team, std::vector<std::uint8_t> text,
          std::size_t sequences)
      : model_(m), engine_(m, kv, team), text_(std::move(text)) {
    for (std::size_t i = 0; i < sequences; ++i)
      ids_.push_back(must(kv.open()));
  }

  cost forward(std::uint32_t tokens) {
    std::vector<batch_part> parts;
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      parts.push_back({ids_[i], position_, tokens});
      const auto* from = text_.data() + i * 4096 + position_;
      bytes.insert(bytes.end(), from, from + tokens);
    }
    std::vector<float> logits(bytes.size() * model_.config.vocabulary);
    const auto begin = steady::now();
    const auto cpu = cpu_seconds();
    if (auto r = engine_.forward(parts, bytes, logits); !r)
      give_up(r.error());
    position_ += tokens;
    return {std::chrono::duration<double>(steady::now() - begin).count(), cpu_seconds() - cpu};
  }

private:
  const model& model_;
  engine engine_;
  std::vector<std::uint8_t> text_;
  std::vector<sequence_id> ids_;
  std::uint32_t position_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "examples/tiny_moe";
  const int blocks = argc > 2 ? std::atoi(argv[2]) : 128;
  const auto sequences = static_cast<std::size_t>(argc > 3 ? std::atoi(argv[3]) : 4);
  const auto m = must(load_model(folder));
  config::settings s;
  s.metrics.enabled = false;
  s.runtime.latency = config::latency_profile::idle; // no CPU time for looking out
  s.selection = {"mass", {}};
  s.fidelity.audit_share = 0;
  auto rt = must(runtime::start(s));
  pikv_store kv{must(rt.open(m.config.shape()))};
  thread_team team{0};
  decoder d{m, kv, team, must(read_bytes(folder + "/eval_text.txt")), sequences};
  for (std::uint32_t done = 0; done < prompt; done += 64)
    d.forward(64);

  std::vector<double> wall, cpu;
  cost sums[2];
  for (int pair = 0; pair < blocks / 2; ++pair) {
    cost now[2];
    for (int half = 0; half < 2; ++half) {
      const int audited = (half + pair) % 2;
      s.fidelity.audit_share = audited != 0 ? audit_share : 0;
      if (!rt.reload(s).wait())
        return 1;
      for (std::uint32_t i = 0; i < steps; ++i)
        now[audited] += d.forward(1);
      sums[audited] += now[audited];
    }
    wall.push_back(now[1].wall / now[0].wall);
    cpu.push_back(now[1].cpu / now[0].cpu);
  }
  std::printf(
      "%zu sequences, %d blocks of %u steps, audits of 1 in 512 against none: wall time of all "
      "x %.4f, median of the pairs x %.4f; CPU time of all x %.4f, median x %.4f (%.0f us CPU a "
      "step)\n",
      sequences, blocks, steps, sums[1].wall / sums[0].wall, median(wall),
      sums[1].cpu / sums[0].cpu, median(cpu), 1e6 * sums[0].cpu / (blocks / 2) / steps);
  return 0;
}
