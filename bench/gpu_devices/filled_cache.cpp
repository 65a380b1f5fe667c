// SPDX-License-Identifier: Apache-2.0
#include "filled_cache.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <random>
#include <vector>

#include <fmt/format.h>

#include <pikv/actors/runtime.hpp>

#include "engine_memory.hpp"
#include "must.hpp"

namespace pikv::bench {

namespace {

using steady = std::chrono::steady_clock;

const tools::kv_model& mixtral() { return *tools::find_model("mixtral-8x7b"); }

form form_of(const std::string& name) {
  for (const auto x : {form::f16, form::bf16, form::int8, form::int4, form::fp8})
    if (to_string(x) == name)
      return x;
  stop({errc::invalid_argument, fmt::format("no form \"{}\"", name)});
}

/// What the plan wants and a quarter more, and room for pages that pass through their home device.
std::uint64_t memory_of(const fill_options& o) {
  if (o.memory_bytes > 0)
    return o.memory_bytes;
  const auto x = plan_of(o);
  const auto plan = tools::make_plan(x);
  // By the gate a page goes to one of as many shards as there are experts, and with random gates,
  // equals to the lower expert, the first of eight gets a fifth of them.
  const auto experts_each = (x.model.experts + o.devices - 1) / o.devices;
  const auto held = o.placement == "gate" ? plan.cache_bytes * 2 * experts_each / x.model.experts
                                          : plan.device.memory() + plan.device.memory() / 4;
  return held + plan.passing + (std::uint64_t{16} << 20);
}

config::settings settings_of(const fill_options& o) {
  config::settings s;
  s.runtime.latency = config::latency_profile::idle; // many devices share the cores
  s.devices.backend = o.backend;
  s.devices.count = o.devices;
  s.devices.threads = 1;
  s.devices.memory_bytes = memory_of(o);
  s.devices.scratch_bytes = std::uint64_t{64} << 20;
  s.cache.stored = dtype::bf16;
  s.placement.name = o.placement;
  s.selection.name = o.selection == "none" ? "all" : o.selection;
  s.compression.name = o.stored == "bf16" ? "identity" : o.stored;
  s.limits.when_full = config::full_policy::refuse;
  s.limits.deadline = std::chrono::minutes{4};
  s.metrics.enabled = false;
  return s;
}

class filler {
public:
  explicit filler(const fill_options& o)
      : options_(o), shape_(shape_of(o)), runtime_(must(runtime::start(settings_of(o)))),
        kv_(must(runtime_.open(shape_))), rows_(buffer(o.batch * o.chunk, shape_.kv_heads)),
        q_(buffer(o.batch, shape_.query_heads)),
        out_(engine_memory(o.backend == "cuda", bytes_of(o.batch, shape_.query_heads))) {
    for (std::uint32_t i = 0; i < o.batch; ++i)
      sequences_.push_back(must(kv_.open()));
    gates_.resize(std::size_t{o.batch} * o.chunk * shape_.experts * 2);
    std::normal_distribution<float> normal;
    std::ranges::generate(gates_, [&] { return normal(random_); });
  }

  void append_all() {
    for (std::uint32_t at = 0; at < options_.context; at += options_.chunk)
      for (std::uint32_t layer = 0; layer < options_.layers; ++layer)
        append(layer, at, std::min(options_.chunk, options_.context - at));
    wait_until(0);
  }

  /// One query of every sequence in every layer. It comes behind all pages that still move, and
  /// makes what kernels keep of page tables.
  void read_all() {
    const auto now = parts(options_.context - 1, 1);
    const auto in = dense(q_, options_.batch, shape_.query_heads);
    const tensor out{out_.get(), in.bytes, in.type, in.order, in.rows, in.heads, in.dim, 0, 0};
    for (std::uint32_t layer = 0; layer < options_.layers; ++layer)
      if (const auto done = kv_.attend(layer, now, in, out).wait(); !done)
        stop(done.error());
  }

  cache_usage usage() { return must(kv_.usage().wait()); }

private:
  static model_shape shape_of(const fill_options& o) {
    const auto& m = mixtral();
    return {o.layers, m.query_heads, m.kv_heads, m.k_dim, m.experts};
  }

  void append(std::uint32_t layer, std::uint32_t at, std::uint32_t tokens) {
    wait_until(options_.in_flight - 1);
    const auto now = parts(at, tokens);
    const auto rows = dense(rows_, options_.batch * tokens, shape_.kv_heads);
    appends_.push_back(kv_.append(layer, now, rows, rows));
    if (options_.placement != "gate")
      return;
    const auto values = std::size_t{options_.batch} * tokens * shape_.experts;
    const auto begin = random_() % (gates_.size() - values + 1);
    annotations_.push_back(
        kv_.annotate(layer, now, std::span<const float>{gates_}.subspan(begin, values)));
  }

  void wait_until(std::size_t left) {
    for (; appends_.size() > left; appends_.pop_front())
      if (const auto& done = appends_.front().wait(); !done)
        stop(done.error());
    for (; annotations_.size() > left; annotations_.pop_front())
      if (const auto& done = annotations_.front().wait(); !done)
        stop(done.error());
  }

  std::size_t bytes_of(std::uint32_t rows, std::uint32_t heads) const {
    return std::size_t{rows} * heads * shape_.head_dim * sizeof(std::uint16_t);
  }

  /// bf16 numbers around zero with ordinary exponents.
  std::shared_ptr<std::byte> buffer(std::uint32_t rows, std::uint32_t heads) {
    std::vector<std::uint16_t> x(bytes_of(rows, heads) / sizeof(std::uint16_t));
    for (auto& v : x)
      v = static_cast<std::uint16_t>(0x3E00U | (random_() & 0x81FFU));
    return engine_memory(options_.backend == "cuda", x);
  }

  const_tensor dense(const std::shared_ptr<std::byte>& data, std::uint32_t rows,
                     std::uint32_t heads) const {
    return {data.get(),  bytes_of(rows, heads), dtype::bf16, layout::nhd, rows, heads,
            shape_.head_dim, 0,                 0};
  }

  std::vector<batch_part> parts(std::uint32_t at, std::uint32_t tokens) const {
    std::vector<batch_part> x;
    for (const auto id : sequences_)
      x.push_back({id, at, tokens});
    return x;
  }

  fill_options options_;
  model_shape shape_;
  std::mt19937 random_{1};
  runtime runtime_;
  cache kv_;
  std::shared_ptr<std::byte> rows_, q_, out_;
  std::vector<float> gates_;
  std::vector<sequence_id> sequences_;
  std::deque<completion<append_report>> appends_;
  std::deque<completion<annotate_report>> annotations_;
};

} // namespace

tools::plan_request plan_of(const fill_options& o) {
  tools::plan_request x;
  x.model = mixtral();
  x.model.layers = o.layers;
  x.context = o.context;
  x.sequences = o.batch;
  x.gpus = o.devices;
  x.stored = form_of(o.stored);
  x.raw = form::bf16;
  x.summary_parts = o.selection == "mass"    ? gpu::summary_mean_var
                    : o.selection == "quest" ? gpu::summary_min_max
                                             : gpu::summary_none;
  x.append_tokens = o.chunk;
  x.table_copies = o.backend == "cuda";
  if (const auto valid = tools::check(x); !valid)
    stop(valid.error());
  return x;
}

filled_cache fill(const fill_options& o) {
  filler x{o};
  const auto begin = steady::now();
  x.append_all();
  x.read_all();
  const std::chrono::duration<double> seconds = steady::now() - begin;
  return {x.usage(), memory_of(o), seconds.count()};
}

} // namespace pikv::bench
