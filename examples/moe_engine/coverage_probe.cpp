// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/coverage_probe.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace pikv::moe_engine {

namespace {

/// Adds the time between its construction and destruction to a sum of seconds.
class stopwatch {
public:
  explicit stopwatch(double& sum) : sum_(sum) {}
  ~stopwatch() {
    sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;

private:
  double& sum_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

} // namespace

coverage_probe::coverage_probe(kv_store& measured, const model_shape& shape, std::uint32_t stride,
                               thread_team& team)
    : measured_(measured), shape_(shape), stride_(std::max(stride, 1U)),
      copy_(shape, dtype::f32, team), layer_sums_(shape.layers) {}

std::vector<double> coverage_probe::coverage_by_layer() const {
  if (samples_ == 0)
    return {};
  auto out = layer_sums_;
  for (auto& x : out)
    x *= static_cast<double>(shape_.layers) / static_cast<double>(samples_);
  return out;
}

result<sequence_id> coverage_probe::open() {
  auto opened = measured_.open();
  if (!opened)
    return opened;
  auto copy = copy_.open();
  if (!copy)
    return copy;
  copies_[*opened] = *copy;
  return opened;
}

result<void> coverage_probe::close(sequence_id x) {
  if (const auto found = copies_.find(x); found != copies_.end()) {
    auto closed = copy_.close(found->second);
    copies_.erase(found);
    if (!closed)
      return closed;
  }
  return measured_.close(x);
}

result<void> coverage_probe::append(std::uint32_t layer, std::span<const batch_part> parts,
                                    std::span<const float> k, std::span<const float> v) {
  {
    const stopwatch watch{seconds_};
    std::vector<batch_part> copies{parts.begin(), parts.end()};
    for (auto& x : copies)
      x.sequence = copies_[x.sequence];
    if (auto copied = copy_.append(layer, copies, k, k); !copied)
      return copied;
  }
  return measured_.append(layer, parts, k, v);
}

result<entry_account> coverage_probe::attend(std::uint32_t layer, std::span<const batch_part> parts,
                                             std::span<const float> q, std::span<float> out,
                                             std::span<float> lse) {
  {
    const stopwatch watch{seconds_};
    sample(parts, q);
    if (!rows_.empty() && lse.empty()) {
      read_lse_.resize(std::size_t{rows_of(parts)} * shape_.query_heads);
      lse = read_lse_;
    }
  }
  auto entries = measured_.attend(layer, parts, q, out, lse);
  if (!entries || rows_.empty())
    return entries;
  const stopwatch watch{seconds_};
  if (auto compared = compare(layer, lse); !compared)
    return compared.error();
  return entries;
}

void coverage_probe::sample(std::span<const batch_part> parts, std::span<const float> q) {
  const std::size_t width = std::size_t{shape_.query_heads} * shape_.head_dim;
  rows_.clear();
  row_index_.clear();
  queries_.clear();
  std::size_t row = 0;
  for (const auto& x : parts)
    for (std::uint32_t i = 0; i < x.tokens; ++i, ++row) {
      if ((x.position + i) % stride_ != stride_ / 2)
        continue;
      rows_.push_back({copies_[x.sequence], x.position + i, 1});
      row_index_.push_back(row);
      const auto from = q.subspan(row * width, width);
      queries_.insert(queries_.end(), from.begin(), from.end());
    }
}

result<void> coverage_probe::compare(std::uint32_t layer, std::span<const float> read_lse) {
  const std::size_t heads = shape_.query_heads;
  outputs_.resize(queries_.size());
  full_lse_.resize(rows_.size() * heads);
  if (auto full = copy_.attend(layer, rows_, queries_, outputs_, full_lse_); !full)
    return full.error();
  double sum = 0;
  for (std::size_t i = 0; i < rows_.size(); ++i)
    for (std::size_t h = 0; h < heads; ++h)
      sum += std::exp(static_cast<double>(read_lse[row_index_[i] * heads + h])
                      - static_cast<double>(full_lse_[i * heads + h]));
  sum_ += sum;
  layer_sums_[layer] += sum;
  samples_ += full_lse_.size();
  return {};
}

} // namespace pikv::moe_engine
