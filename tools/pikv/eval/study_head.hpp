// SPDX-License-Identifier: Apache-2.0
/// \file
/// K, V and page summaries of one (sequence, layer, KV head) in f32, laid out for products.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <moe_engine/dense_attention.hpp>

#include "eval/study_rule.hpp"

namespace pikv::tools {

/// Where pages and the window are, as in PiKV (actors/shard_owner/geometry.hpp): page p holds the
/// entries sinks + p * page_tokens and on.
struct study_geometry {
  std::uint32_t sinks = 4;
  std::uint32_t window = 128;
  std::uint32_t page_tokens = 16;

  /// Whole pages outside the window of a query at `position`.
  std::uint32_t old_pages(std::uint32_t position) const noexcept {
    const std::uint64_t fixed = std::uint64_t{sinks} + window;
    const std::uint64_t seen = std::uint64_t{position} + 1;
    return seen <= fixed ? 0 : static_cast<std::uint32_t>((seen - fixed) / page_tokens);
  }
};

/// Not thread-safe; head_dim is at most 256.
class study_head {
public:
  study_head(std::size_t head_dim, const study_geometry& g) : dim_(head_dim), geometry_(g) {}

  void append(std::span<const float> k, std::span<const float> v); ///< `[head_dim]` each
  std::uint32_t tokens() const noexcept { return tokens_; }

  /// Logits in powers of 2, scaled by log2(e) / sqrt(head_dim) already in `q` `[rows, head_dim]`,
  /// into `[rows, stride]`; stride is at least padded_tokens(). Columns beyond tokens() are junk.
  void logits(const float* q, std::size_t rows, float* out, std::size_t stride) const;
  std::size_t padded_tokens() const noexcept {
    return blocks_.size() * moe_engine::kv_block::tokens;
  }

  /// Estimates of the natural log of the mass of each page, up to a constant a row, into
  /// `[rows, stride]`; stride is at least padded_pages(). `q` `[rows, head_dim]` is scaled by
  /// 1 / sqrt(head_dim). Score: mass_first, mass, quest or mixed.
  void page_logits(const float* q, std::size_t rows, const study_rule& rule, float* out,
                   std::size_t stride) const;
  std::size_t padded_pages() const noexcept;

  /// out `[rows, padded head_dim]` += weights `[rows, stride]` times V, over all tokens.
  void weigh_values(const float* weights, std::size_t rows, std::size_t stride, float* out) const;
  std::size_t padded_dim() const noexcept { return moe_engine::kv_block::padded(dim_); }

private:
  void summarise(std::uint32_t page);

  std::size_t dim_;
  study_geometry geometry_;
  std::uint32_t tokens_ = 0;
  std::vector<moe_engine::kv_block> blocks_; // f32
  std::vector<float> open_page_;             // K of the page that is filling, [tokens, head_dim]
  std::uint32_t pages_ = 0;
  // Per page and channel, as panels of 32 pages, [panels, head_dim, 32].
  std::vector<float> mean_, variance_, low_, high_;
};

} // namespace pikv::tools
