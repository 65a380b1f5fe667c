// SPDX-License-Identifier: Apache-2.0
/// \file
/// An engine that decodes on GPU 0 with its KV in a cache of one or more devices: a token of every
/// sequence is appended and attended to, layer by layer. Ends the program on an error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <pikv/actors/runtime.hpp>

#include "device_memory.hpp"

namespace pikv::bench {

struct decode_options {
  model_shape shape{32, 32, 8, 128, 0}; ///< with experts, tokens are annotated with random gates
  std::uint32_t batch = 8, context = 32768;
  std::uint32_t chunk = 2048; ///< tokens of one append to one sequence
  std::uint32_t devices = 1;
  std::uint32_t actor_threads = 1;
  std::vector<float> step_gate = {}; ///< `[experts]`: the gate of all steps; empty: random
  double spare = 0.25; ///< memory of a device beyond its even share of the KV, of that share
  std::function<void(config::settings&)> tune = {}; ///< policies and all else
};

class decode_engine {
public:
  explicit decode_engine(const decode_options& o);
  decode_engine(const decode_engine&) = delete;
  decode_engine& operator=(const decode_engine&) = delete;
  ~decode_engine();

  /// Appends the context of all sequences. Its rows repeat every `chunk` tokens.
  void fill();

  /// Median microseconds of one layer of a step, of `steps` steps. `ordered`: the engine's stream
  /// waits for every layer and its thread only for the step; else the thread waits for every layer.
  double layer_us(bool ordered, std::uint32_t steps);
  void step(bool ordered);
  /// The timeline of three steps whose layers the engine's stream waits for, for ui.perfetto.dev.
  void trace(const std::string& path);
  /// Waits until nothing is in flight and what settles has settled.
  void settle();

  /// The attention of one layer at the last token that was appended, `[batch, query_heads, head_dim]`.
  std::vector<float> attend(std::uint32_t layer, attend_report& report);
  /// Values of K, which are those of V, of the filled context: `[batch, kv_heads, head_dim]` of the
  /// token at a position, and of the queries, `[batch, query_heads, head_dim]`.
  std::vector<float> token_at(std::uint32_t position) const;
  std::vector<float> queries() const;

  cache& kv() noexcept { return kv_; }
  std::span<const sequence_id> sequences() const noexcept { return sequences_; }
  std::uint32_t position() const noexcept { return position_; } ///< of the next token

private:
  void waiting_step();
  void ordered_step();
  void annotate(std::uint32_t layer, const std::vector<batch_part>& now, std::uint32_t tokens);
  std::size_t row_elements() const;
  std::vector<batch_part> parts(std::uint32_t at, std::uint32_t tokens) const;
  const_tensor dense(const std::byte* data, std::uint32_t rows, std::uint32_t heads) const;
  const_tensor token() const { return dense(rows_.as(), options_.batch, shape_.kv_heads); }
  const_tensor query() const { return dense(q_.as(), options_.batch, shape_.query_heads); }
  tensor output() const;

  decode_options options_;
  model_shape shape_;
  runtime runtime_;
  cache kv_;
  std::vector<std::uint16_t> row_values_, q_values_; ///< bf16
  device_memory rows_, q_, out_;
  std::vector<float> gates_, step_gates_;
  std::vector<completion<annotate_report>> annotated_;
  std::vector<sequence_id> sequences_;
  std::uint32_t position_ = 0;
  cudaStream_t engine_ = nullptr;
};

} // namespace pikv::bench
