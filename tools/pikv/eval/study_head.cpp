// SPDX-License-Identifier: Apache-2.0
#include "eval/study_head.hpp"

#include <algorithm>
#include <cmath>

#include "eval/study_math.hpp"

namespace pikv::tools {

using moe_engine::kv_block;

void study_head::append(std::span<const float> k, std::span<const float> v) {
  const auto slot = tokens_ % kv_block::tokens;
  if (slot == 0)
    blocks_.emplace_back(dtype::f32, dim_);
  blocks_.back().put(slot, k, v);
  if (++tokens_ <= geometry_.sinks)
    return;
  open_page_.insert(open_page_.end(), k.begin(), k.end());
  if (open_page_.size() == geometry_.page_tokens * dim_) {
    summarise(pages_++);
    open_page_.clear();
  }
}

void study_head::summarise(std::uint32_t page) {
  const auto first = page / panel_columns * dim_ * panel_columns + page % panel_columns;
  if (page % panel_columns == 0)
    for (auto* x : {&mean_, &variance_, &low_, &high_})
      x->resize(x->size() + dim_ * panel_columns);
  const double n = geometry_.page_tokens;
  for (std::size_t c = 0; c < dim_; ++c) {
    double sum = 0, squares = 0;
    float low = open_page_[c], high = low;
    for (std::size_t t = 0; t < geometry_.page_tokens; ++t) {
      const float x = open_page_[t * dim_ + c];
      sum += x;
      low = std::min(low, x);
      high = std::max(high, x);
    }
    for (std::size_t t = 0; t < geometry_.page_tokens; ++t)
      squares += std::pow(open_page_[t * dim_ + c] - sum / n, 2);
    const auto at = first + c * panel_columns;
    mean_[at] = static_cast<float>(sum / n);
    variance_[at] = static_cast<float>(squares / n);
    low_[at] = low;
    high_[at] = high;
  }
}

void study_head::logits(const float* q, std::size_t rows, float* out, std::size_t stride) const {
  constexpr auto panels = kv_block::tokens / panel_columns;
  for (std::size_t b = 0; b < blocks_.size(); ++b)
    multiply(q, rows, dim_, blocks_[b].widened({}), panels, dim_ * panel_columns, dim_,
             out + b * kv_block::tokens, stride, false);
}

std::size_t study_head::padded_pages() const noexcept {
  return (pages_ + panel_columns - 1) / panel_columns * panel_columns;
}

void study_head::page_logits(const float* q, std::size_t rows, const study_rule& rule, float* out,
                             std::size_t stride) const {
  const auto panels = padded_pages() / panel_columns;
  std::vector<float> factors(rows * dim_);
  const auto add = [&](const std::vector<float>& summary, bool more, auto&& factor) {
    for (std::size_t i = 0; i < factors.size(); ++i)
      factors[i] = factor(q[i]);
    multiply(factors.data(), rows, dim_, summary.data(), panels, dim_ * panel_columns, dim_, out,
             stride, more);
  };
  const auto bound = rule.score == study_score::quest   ? 1.0F
                     : rule.score == study_score::mixed ? static_cast<float>(rule.quest_share)
                                                        : 0.0F;
  const auto mass = 1 - bound;
  add(mean_, false, [&](float x) { return mass * x; });
  if (rule.score != study_score::mass_first && mass > 0)
    add(variance_, true, [&](float x) { return mass * 0.5F * x * x; });
  if (bound > 0) {
    add(high_, true, [&](float x) { return bound * std::max(x, 0.0F); });
    add(low_, true, [&](float x) { return bound * std::min(x, 0.0F); });
  }
}

void study_head::weigh_values(const float* weights, std::size_t rows, std::size_t stride,
                              float* out) const {
  const auto width = padded_dim();
  for (std::size_t b = 0; b < blocks_.size(); ++b)
    multiply(weights + b * kv_block::tokens, rows, stride,
             blocks_[b].widened({}) + dim_ * kv_block::tokens, width / panel_columns,
             kv_block::tokens * panel_columns, kv_block::tokens, out, width, true);
}

} // namespace pikv::tools
