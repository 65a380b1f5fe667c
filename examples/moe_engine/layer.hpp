// SPDX-License-Identifier: Apache-2.0
/// \file
/// The arithmetic of one layer around its attention, for all rows of a batch. No KV in here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <moe_engine/model.hpp>
#include <moe_engine/thread_team.hpp>

namespace pikv::moe_engine {

/// Activations of a batch; rows are tokens. Grows to the largest batch and stays.
struct activations {
  std::size_t rows = 0;
  std::vector<std::uint32_t> positions; ///< `[rows]`
  std::vector<float> x;                 ///< `[rows, width]`: the residual stream
  std::vector<float> normed;            ///< `[rows, width]`
  std::vector<float> q;                 ///< `[rows, query_heads, head_dim]`
  std::vector<float> k;                 ///< `[rows, kv_heads, head_dim]`
  std::vector<float> v;                 ///< `[rows, kv_heads, head_dim]`
  std::vector<float> attended;          ///< `[rows, query_heads, head_dim]`
  std::vector<float> gate_logits;       ///< `[rows, experts]`

  void resize(const model_config& c, std::size_t n);
};

/// Cosines and sines of rotary positions: `[max_positions, head_dim / 2]` each.
struct rotary_table {
  explicit rotary_table(const model_config& c);
  std::size_t half = 0;
  std::vector<float> cosine;
  std::vector<float> sine;
};

/// Before the attention: norm, q, k and v, rotary positions into q and k.
void project(const model_config& c, const layer_weights& w, const rotary_table& rotary,
             thread_team& team, activations& a);

/// After the attention: its output into the residual stream, norm, and the gate's logits.
void absorb_attention(const model_config& c, const layer_weights& w, thread_team& team,
                      activations& a);

/// The rows of a batch sorted by the experts they go to, and what the experts make of them. A slot
/// is one (row, chosen expert).
class expert_pass {
public:
  /// Each row goes through its `experts_per_token` experts of highest logit, weighted by the
  /// softmax over all experts, renormalised over the chosen; the sum joins the residual stream.
  void run(const model_config& c, const layer_weights& w, thread_team& team, activations& a);

private:
  void choose(const model_config& c, thread_team& team, const activations& a);
  static void choose_row(std::span<const float> logits, std::span<std::uint32_t> chosen,
                         std::span<float> weight);
  void sort_by_expert(const model_config& c);
  void run_expert(const model_config& c, const expert_weights& w, std::size_t expert,
                  const activations& a);

  std::vector<std::uint32_t> chosen_; // [rows, experts_per_token]: expert
  std::vector<float> weight_;         // [rows, experts_per_token]
  std::vector<std::uint32_t> slot_;   // [rows, experts_per_token]: where its result lies
  std::vector<std::uint32_t> first_;  // [experts + 1]: first slot of each expert
  std::vector<std::uint32_t> row_;    // [slots]
  std::vector<float> gathered_;       // [slots, width]
  std::vector<float> hidden_;         // [slots, 2 * expert_width]
  std::vector<float> result_;         // [slots, width]
};

/// Logits `[rows, vocabulary]` of the tokens that follow.
void predict(const model& m, thread_team& team, activations& a, std::span<float> logits);

} // namespace pikv::moe_engine
