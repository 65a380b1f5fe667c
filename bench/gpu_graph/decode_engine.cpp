// SPDX-License-Identifier: Apache-2.0
#include "decode_engine.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <fstream>
#include <random>

#include <pikv/gpu/trace.hpp>

#include "must.hpp"

namespace pikv::bench {

namespace {

using steady = std::chrono::steady_clock;

/// bf16 numbers around zero with ordinary exponents.
std::vector<std::uint16_t> noise(std::size_t n, std::uint32_t seed) {
  std::vector<std::uint16_t> x(n);
  for (auto& v : x) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<std::uint16_t>(0x3E00U | (seed >> 16 & 0x81FFU));
  }
  return x;
}

float number(std::uint16_t bf16) { return std::bit_cast<float>(std::uint32_t{bf16} << 16); }

config::settings settings_of(const decode_options& o) {
  config::settings s;
  const std::uint64_t kv_bytes = // of K and of V, two each
      std::uint64_t{4} * o.shape.kv_heads * o.shape.head_dim * o.shape.layers * o.batch * o.context;
  s.devices.backend = "cuda";
  s.devices.count = o.devices;
  s.devices.memory_bytes =
      static_cast<std::uint64_t>(static_cast<double>(kv_bytes) / o.devices * (1 + o.spare))
      + (std::uint64_t{256} << 20);
  s.devices.scratch_bytes = std::uint64_t{1} << 30;
  s.cache.stored = dtype::bf16;
  s.metrics.enabled = false;
  s.fidelity.audit_share = 0; // nothing but the steps is timed
  s.limits.deadline = std::chrono::minutes{1};
  s.runtime.latency = config::latency_profile::low;
  s.runtime.actor_threads = o.actor_threads;
  if (o.tune)
    o.tune(s);
  return s;
}

template <class T>
void await(std::vector<completion<T>>& all) {
  for (auto& x : all)
    if (const auto& done = x.spin(); !done)
      stop(done.error());
  all.clear();
}

} // namespace

decode_engine::decode_engine(const decode_options& o)
    : options_(o), shape_(o.shape), runtime_(must(runtime::start(settings_of(o)))),
      kv_(must(runtime_.open(shape_))),
      row_values_(noise(std::size_t{o.batch} * o.chunk * shape_.kv_heads * shape_.head_dim, 1)),
      q_values_(noise(row_elements(), 2)), rows_(row_values_), q_(q_values_),
      out_(row_elements() * 2) {
  require(cudaStreamCreateWithFlags(&engine_, cudaStreamNonBlocking), "stream");
  for (std::uint32_t i = 0; i < o.batch; ++i)
    sequences_.push_back(must(kv_.open()));
  gates_.resize(std::size_t{o.batch} * o.chunk * shape_.experts);
  std::mt19937 random{3};
  std::normal_distribution<float> normal;
  std::ranges::generate(gates_, [&] { return normal(random); });
  for (std::uint32_t i = 0; i < o.batch; ++i)
    std::ranges::copy(o.step_gate, std::back_inserter(step_gates_));
}

decode_engine::~decode_engine() {
  await(annotated_);
  cudaStreamDestroy(engine_);
}

void decode_engine::fill() {
  for (; position_ < options_.context; position_ += options_.chunk) {
    const auto n = std::min(options_.chunk, options_.context - position_);
    const auto now = parts(position_, n);
    const auto view = dense(rows_.as(), options_.batch * n, shape_.kv_heads);
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      if (auto done = kv_.append(layer, now, view, view).wait(); !done)
        stop(done.error());
      annotate(layer, now, n);
    }
    await(annotated_);
  }
  position_ = options_.context;
  settle();
}

void decode_engine::settle() {
  await(annotated_);
  for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
    attend_options exact;
    exact.exact = true;
    const auto now = parts(position_ - 1, 1);
    if (auto done = kv_.attend(layer, now, query(), output(), exact).wait(); !done)
      stop(done.error());
  }
}

double decode_engine::layer_us(bool ordered, std::uint32_t steps) {
  std::vector<double> us;
  for (std::uint32_t i = 0; i < steps + 2; ++i) {
    const auto begin = steady::now();
    step(ordered);
    if (i >= 2)
      us.push_back(std::chrono::duration<double, std::micro>(steady::now() - begin).count()
                   / shape_.layers);
  }
  std::ranges::nth_element(us, us.begin() + steps / 2);
  return us[steps / 2];
}

void decode_engine::step(bool ordered) {
  ordered ? ordered_step() : waiting_step();
  await(annotated_);
  ++position_;
}

void decode_engine::trace(const std::string& path) {
  gpu::trace::start();
  for (int i = 0; i < 3; ++i)
    step(true);
  gpu::trace::stop();
  std::ofstream file{path};
  gpu::trace::write(file);
  if (!file)
    stop({errc::io_failed, fmt::format("{} cannot be written", path)});
}

void decode_engine::waiting_step() {
  const auto now = parts(position_, 1);
  for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
    auto append = kv_.append(layer, now, token(), token());
    auto attend = kv_.attend(layer, now, query(), output());
    if (const auto& done = attend.spin(); !done)
      stop(done.error());
    if (const auto& done = append.spin(); !done)
      stop(done.error());
    annotate(layer, now, 1);
  }
}

void decode_engine::ordered_step() {
  const auto now = parts(position_, 1);
  append_options appends;
  attend_options attends;
  appends.stream = attends.stream = engine_;
  std::vector<completion<append_report>> appended;
  std::vector<completion<attend_report>> attended;
  for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
    appended.push_back(kv_.append(layer, now, token(), token(), appends));
    attended.push_back(kv_.attend(layer, now, query(), output(), attends));
    if (auto r = attended.back().enqueue_wait(engine_); !r)
      stop(r.error());
    annotate(layer, now, 1);
  }
  require(cudaStreamSynchronize(engine_), "the engine's stream");
  await(attended);
  await(appended);
}

void decode_engine::annotate(std::uint32_t layer, const std::vector<batch_part>& now,
                             std::uint32_t tokens) {
  if (shape_.experts == 0)
    return;
  const auto values = std::size_t{options_.batch} * tokens * shape_.experts;
  const auto begin = (position_ + layer) * 7919U % (gates_.size() - values + 1);
  const bool steps = position_ >= options_.context && !step_gates_.empty();
  const auto gates = steps ? std::span<const float>{step_gates_}
                           : std::span<const float>{gates_}.subspan(begin, values);
  annotated_.push_back(kv_.annotate(layer, now, gates));
}

std::vector<float> decode_engine::attend(std::uint32_t layer, attend_report& report) {
  auto done = kv_.attend(layer, parts(position_ - 1, 1), query(), output());
  report = must(done.wait());
  std::vector<std::uint16_t> raw(row_elements());
  require(cudaMemcpy(raw.data(), out_.as(), raw.size() * 2, cudaMemcpyDeviceToHost), "output");
  std::vector<float> x;
  std::ranges::transform(raw, std::back_inserter(x), number);
  return x;
}

std::vector<float> decode_engine::token_at(std::uint32_t position) const {
  const auto chunk = position / options_.chunk * options_.chunk;
  const auto n = std::min(options_.chunk, options_.context - chunk);
  const std::size_t row = std::size_t{shape_.kv_heads} * shape_.head_dim;
  std::vector<float> x;
  for (std::uint32_t s = 0; s < options_.batch; ++s)
    for (std::size_t i = 0; i < row; ++i)
      x.push_back(number(row_values_[(std::size_t{s} * n + position - chunk) * row + i]));
  return x;
}

std::vector<float> decode_engine::queries() const {
  std::vector<float> x;
  std::ranges::transform(q_values_, std::back_inserter(x), number);
  return x;
}

std::size_t decode_engine::row_elements() const {
  return std::size_t{options_.batch} * shape_.query_heads * shape_.head_dim;
}

std::vector<batch_part> decode_engine::parts(std::uint32_t at, std::uint32_t tokens) const {
  std::vector<batch_part> x;
  for (const auto id : sequences_)
    x.push_back({id, at, tokens});
  return x;
}

const_tensor decode_engine::dense(const std::byte* data, std::uint32_t rows,
                                  std::uint32_t heads) const {
  return {data, std::size_t{rows} * heads * shape_.head_dim * 2, dtype::bf16, layout::nhd, rows,
          heads, shape_.head_dim, 0, 0};
}

tensor decode_engine::output() const {
  const auto x = dense(out_.as(), options_.batch, shape_.query_heads);
  return {out_.as(), x.bytes, x.type, x.order, x.rows, x.heads, x.dim, 0, 0};
}

} // namespace pikv::bench
