// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/layer.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {

namespace {

/// Rows that one thread takes at a time: enough for each read of a weight to be used many times,
/// few enough for a batch to spread evenly.
constexpr std::size_t block_rows = 48;

/// Calls f(first, count) for blocks of rows, spread over the team.
template <class F>
void for_row_blocks(thread_team& team, std::size_t rows, F&& f) {
  team.run((rows + block_rows - 1) / block_rows, [&](std::size_t i) {
    const auto first = i * block_rows;
    f(first, std::min(block_rows, rows - first));
  });
}

void normalise(const model_config& c, std::span<const float> weight, activations& a,
               std::size_t first, std::size_t count) {
  for (auto r = first; r < first + count; ++r)
    rms_norm({a.x.data() + r * c.width, c.width}, weight, c.norm_epsilon,
             {a.normed.data() + r * c.width, c.width});
}

void rotate(const rotary_table& t, const activations& a, std::size_t row, std::size_t heads,
            float* x) {
  const auto at = a.positions[row] * t.half;
  const auto dim = 2 * t.half;
  for (std::size_t h = 0; h < heads; ++h)
    rotate_half({x + (row * heads + h) * dim, dim}, {t.cosine.data() + at, t.half},
                {t.sine.data() + at, t.half});
}

} // namespace

void activations::resize(const model_config& c, std::size_t n) {
  const std::size_t q_width = std::size_t{c.query_heads} * c.head_dim;
  const std::size_t kv_width = std::size_t{c.kv_heads} * c.head_dim;
  rows = n;
  positions.resize(n);
  x.resize(n * c.width);
  normed.resize(n * c.width);
  q.resize(n * q_width);
  k.resize(n * kv_width);
  v.resize(n * kv_width);
  attended.resize(n * q_width);
  gate_logits.resize(n * c.experts);
}

rotary_table::rotary_table(const model_config& c)
    : half(c.head_dim / 2), cosine(c.max_positions * half), sine(cosine.size()) {
  for (std::size_t i = 0; i < half; ++i) {
    // Angles are rounded to f32 as in the implementation that models of this layout come from.
    const auto exponent = static_cast<float>(2 * i) / static_cast<float>(c.head_dim);
    const auto frequency = 1.0F / std::pow(c.rope_theta, exponent);
    for (std::size_t p = 0; p < c.max_positions; ++p) {
      const auto angle = static_cast<float>(p) * frequency;
      cosine[p * half + i] = std::cos(angle);
      sine[p * half + i] = std::sin(angle);
    }
  }
}

void project(const model_config& c, const layer_weights& w, const rotary_table& rotary,
             thread_team& team, activations& a) {
  for_row_blocks(team, a.rows, [&](std::size_t first, std::size_t count) {
    normalise(c, w.attention_norm, a, first, count);
    const auto* in = a.normed.data() + first * c.width;
    multiply(w.query, in, count, a.q.data() + first * w.query.outputs());
    multiply(w.key, in, count, a.k.data() + first * w.key.outputs());
    multiply(w.value, in, count, a.v.data() + first * w.value.outputs());
    for (auto r = first; r < first + count; ++r) {
      rotate(rotary, a, r, c.query_heads, a.q.data());
      rotate(rotary, a, r, c.kv_heads, a.k.data());
    }
  });
}

void absorb_attention(const model_config& c, const layer_weights& w, thread_team& team,
                      activations& a) {
  for_row_blocks(team, a.rows, [&](std::size_t first, std::size_t count) {
    auto* projected = a.normed.data() + first * c.width; // free until the norm below
    multiply(w.output, a.attended.data() + first * w.output.inputs(), count, projected);
    add_scaled(1.0F, {projected, count * c.width}, {a.x.data() + first * c.width, count * c.width});
    normalise(c, w.expert_norm, a, first, count);
    multiply(w.gate, a.normed.data() + first * c.width, count,
             a.gate_logits.data() + first * c.experts);
  });
}

void expert_pass::run(const model_config& c, const layer_weights& w, thread_team& team,
                      activations& a) {
  choose(c, team, a);
  sort_by_expert(c);
  team.run(c.experts, [&](std::size_t e) { run_expert(c, w.experts[e], e, a); });
  for_row_blocks(team, a.rows, [&](std::size_t first, std::size_t count) {
    for (auto r = first; r < first + count; ++r)
      for (std::size_t i = r * c.experts_per_token; i < (r + 1) * c.experts_per_token; ++i)
        add_scaled(weight_[i], {result_.data() + std::size_t{slot_[i]} * c.width, c.width},
                   {a.x.data() + r * c.width, c.width});
  });
}

void expert_pass::choose(const model_config& c, thread_team& team, const activations& a) {
  const std::size_t top = c.experts_per_token;
  chosen_.resize(a.rows * top);
  weight_.resize(a.rows * top);
  for_row_blocks(team, a.rows, [&](std::size_t first, std::size_t count) {
    for (auto r = first; r < first + count; ++r)
      choose_row({a.gate_logits.data() + r * c.experts, c.experts}, {chosen_.data() + r * top, top},
                 {weight_.data() + r * top, top});
  });
}

/// The largest logits in falling order, equal ones by index, and their softmax: renormalised over
/// the chosen, the softmax over all equals the softmax over the chosen.
void expert_pass::choose_row(std::span<const float> logits, std::span<std::uint32_t> chosen,
                             std::span<float> weight) {
  std::size_t held = 0;
  for (std::uint32_t e = 0; e < logits.size(); ++e) {
    std::size_t at = held;
    while (at > 0 && logits[chosen[at - 1]] < logits[e])
      --at;
    if (at == chosen.size())
      continue;
    held = std::min(held + 1, chosen.size());
    std::copy_backward(chosen.begin() + static_cast<std::ptrdiff_t>(at),
                       chosen.begin() + static_cast<std::ptrdiff_t>(held) - 1,
                       chosen.begin() + static_cast<std::ptrdiff_t>(held));
    chosen[at] = e;
  }
  float sum = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    weight[i] = std::exp(logits[chosen[i]] - logits[chosen[0]]);
    sum += weight[i];
  }
  for (auto& w : weight)
    w /= sum;
}

void expert_pass::sort_by_expert(const model_config& c) {
  first_.assign(c.experts + 1, 0);
  for (const auto e : chosen_)
    ++first_[e + 1];
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
  const auto slots = chosen_.size();
  slot_.resize(slots);
  row_.resize(slots);
  gathered_.resize(slots * c.width);
  hidden_.resize(slots * 2 * c.expert_width);
  result_.resize(slots * c.width);
  auto next = first_;
  for (std::size_t i = 0; i < slots; ++i) {
    slot_[i] = next[chosen_[i]]++;
    row_[slot_[i]] = static_cast<std::uint32_t>(i / c.experts_per_token);
  }
}

void expert_pass::run_expert(const model_config& c, const expert_weights& w, std::size_t expert,
                             const activations& a) {
  const std::size_t first = first_[expert];
  const std::size_t count = first_[expert + 1] - first;
  if (count == 0)
    return;
  auto* gathered = gathered_.data() + first * c.width;
  for (std::size_t i = 0; i < count; ++i)
    std::copy_n(a.normed.data() + std::size_t{row_[first + i]} * c.width, c.width,
                gathered + i * c.width);
  const std::size_t stride = std::size_t{2} * c.expert_width;
  auto* hidden = hidden_.data() + first * stride;
  multiply(w.gate_up, gathered, count, hidden);
  for (std::size_t i = 0; i < count; ++i)
    silu_multiply({hidden + i * stride, c.expert_width},
                  {hidden + i * stride + c.expert_width, c.expert_width});
  multiply(w.down, hidden, count, result_.data() + first * c.width, stride);
}

void predict(const model& m, thread_team& team, activations& a, std::span<float> logits) {
  for_row_blocks(team, a.rows, [&](std::size_t first, std::size_t count) {
    normalise(m.config, m.final_norm, a, first, count);
    multiply(m.head, a.normed.data() + first * m.config.width, count,
             logits.data() + first * m.config.vocabulary);
  });
}

} // namespace pikv::moe_engine
