// SPDX-License-Identifier: Apache-2.0
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "moe_engine/dense_attention.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <moe_engine/dense_attention.hpp>
#include <moe_engine/fast_exp-inl.hpp>
#include <moe_engine/gemm_tile-inl.hpp>

HWY_BEFORE_NAMESPACE();
namespace pikv::moe_engine::HWY_NAMESPACE {

/// Queries that go through a block together: their logits (24 x 128 floats) and the block's V stay
/// in the nearest cache.
inline constexpr std::size_t query_tile = 24;

/// What the attention of one job carries from block to block. Queries are (row, head of the group)
/// pairs, rows outside.
struct running_softmax {
  explicit running_softmax(const attention_job& job)
      : dim(job.head_dim), width(kv_block::padded(job.head_dim)), queries(job.rows * job.group),
        q(queries * dim), out(queries * width),
        top(queries, -std::numeric_limits<float>::infinity()), sum(queries),
        logits(query_tile * kv_block::tokens) {
    // Logits come out in powers of 2, ready for exp2.
    const float scale = log2_e / std::sqrt(static_cast<float>(dim));
    for (std::size_t i = 0; i < queries; ++i) {
      const auto* from = job.q + i / job.group * job.row_stride + i % job.group * dim;
      for (std::size_t j = 0; j < dim; ++j)
        q[i * dim + j] = from[j] * scale;
    }
  }

  std::size_t dim;
  std::size_t width;
  std::size_t queries;
  std::vector<float> q;      // [queries, dim], scaled
  std::vector<float> out;    // [queries, width], not yet divided by sum
  std::vector<float> top;    // [queries]: largest logit so far
  std::vector<float> sum;    // [queries]: of 2^(logit - top)
  std::vector<float> logits; // [query_tile, 128]
};

/// Turns the first `readable` of `count` logits of one query into weights, the others into zeros,
/// and brings the query's running values to the new largest logit.
void absorb_logits(running_softmax& s, std::size_t query, float* logits, std::size_t readable,
                   std::size_t count) {
  const f32_tag d;
  const auto lanes = hn::Lanes(d);
  std::fill(logits + readable, logits + count, -std::numeric_limits<float>::infinity());
  if (readable == 0) {
    std::fill_n(logits, count, 0.0F);
    return;
  }
  auto tops = hn::LoadU(d, logits);
  for (std::size_t i = lanes; i < count; i += lanes)
    tops = hn::Max(tops, hn::LoadU(d, logits + i));
  const float top = std::max(s.top[query], hn::GetLane(hn::MaxOfLanes(d, tops)));
  if (top > s.top[query]) {
    const float shrink = std::exp2(s.top[query] - top);
    s.sum[query] *= shrink;
    for (std::size_t i = 0; i < s.width; ++i)
      s.out[query * s.width + i] *= shrink;
    s.top[query] = top;
  }
  auto sums = hn::Zero(d);
  for (std::size_t i = 0; i < count; i += lanes) {
    const auto p = exp2_fast(d, hn::Sub(hn::LoadU(d, logits + i), hn::Set(d, top)));
    hn::StoreU(p, d, logits + i);
    sums = hn::Add(sums, p);
  }
  s.sum[query] += hn::GetLane(hn::SumOfLanes(d, sums));
}

/// Queries [first, first + count) over the block that begins at entry `start`.
void attend_tile(const attention_job& job, running_softmax& s, std::size_t first, std::size_t count,
                 std::size_t start, const float* block) {
  const auto readable_by = [&](std::size_t query) {
    const auto end = job.position + query / job.group + 1;
    return end <= start ? 0 : std::min(end - start, kv_block::tokens);
  };
  const auto most = readable_by(first + count - 1);
  if (most == 0)
    return;
  const auto panels = (most + panel_width - 1) / panel_width;
  for (std::size_t p = 0; p < panels; ++p)
    panel_product(count, s.q.data() + first * s.dim, s.dim, block + p * s.dim * panel_width, s.dim,
                  s.logits.data() + p * panel_width, kv_block::tokens, false);
  for (std::size_t i = 0; i < count; ++i)
    absorb_logits(s, first + i, s.logits.data() + i * kv_block::tokens, readable_by(first + i),
                  panels * panel_width);
  const auto* values = block + s.dim * kv_block::tokens;
  for (std::size_t j = 0; j < s.width; j += panel_width)
    panel_product(count, s.logits.data(), kv_block::tokens, values + j * kv_block::tokens,
                  panels * panel_width, s.out.data() + first * s.width + j, s.width, true);
}

void attend_all(const attention_job& job) {
  running_softmax s{job};
  std::vector<float> scratch(kv_block::elements(job.head_dim));
  // Blocks outside: each is widened once for all queries.
  for (std::size_t b = 0; b < job.blocks.size(); ++b) {
    const auto* block = job.blocks[b].widened(scratch);
    for (std::size_t i = 0; i < s.queries; i += query_tile)
      attend_tile(job, s, i, std::min(query_tile, s.queries - i), b * kv_block::tokens, block);
  }
  for (std::size_t i = 0; i < s.queries; ++i) {
    auto* to = job.out + i / job.group * job.row_stride + i % job.group * s.dim;
    for (std::size_t j = 0; j < s.dim; ++j)
      to[j] = s.out[i * s.width + j] / s.sum[i];
    if (job.lse != nullptr)
      job.lse[i / job.group * job.lse_stride + i % job.group] =
          ln_2 * s.top[i] + std::log(s.sum[i]);
  }
}

} // namespace pikv::moe_engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cstring>

#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {

HWY_EXPORT(attend_all);

void attend_head(const attention_job& job) { HWY_DYNAMIC_DISPATCH(attend_all)(job); }

void kv_block::put(std::size_t slot, std::span<const float> k, std::span<const float> v) noexcept {
  constexpr std::size_t chunk = 256; // the largest head there is
  alignas(64) std::byte rounded[chunk * sizeof(float)];
  const auto size = size_of(type_);
  const auto copy = [&](std::size_t from, std::size_t to) {
    std::memcpy(data_.get() + to * size, rounded + from * size, size);
  };
  narrow(type_, k, rounded);
  const auto first = slot / panel * head_dim_ * panel + slot % panel;
  for (std::size_t i = 0; i < head_dim_; ++i)
    copy(i, first + i * panel);
  narrow(type_, v, rounded);
  const auto values = head_dim_ * tokens + slot * panel;
  for (std::size_t i = 0; i < head_dim_; ++i)
    copy(i, values + i / panel * tokens * panel + i % panel);
}

const float* kv_block::widened(std::span<float> scratch) const noexcept {
  if (type_ == dtype::f32)
    return reinterpret_cast<const float*>(data_.get());
  widen(type_, data_.get(), scratch.first(elements(head_dim_)));
  return scratch.data();
}

} // namespace pikv::moe_engine
#endif
