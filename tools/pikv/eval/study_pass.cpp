// SPDX-License-Identifier: Apache-2.0
#include "eval/study_pass.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <moe_engine/vector_math.hpp>
#include <pikv/policies/selection/selection_policy.hpp>
#include <pikv/policies/share.hpp>

#include "eval/study_math.hpp"

namespace pikv::tools {

namespace {

constexpr float log2_e = 1.4426950408889634F;
constexpr float ln_2 = 0.6931471805599453F;
constexpr float nothing = -std::numeric_limits<float>::infinity();

/// A uniform number below 2^24 of a page, the same in every run.
float random_score(std::uint64_t sequence, std::uint64_t row, std::uint64_t page) {
  auto x = sequence * 0x9E3779B97F4A7C15U + row * 0xBF58476D1CE4E5B9U + page * 0x94D049BB133111EBU;
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9U;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBU;
  x ^= x >> 31;
  return static_cast<float>(x >> 40);
}

/// The attention of one part's rows over one KV head. Queries are (row, head of the group) pairs,
/// rows outside.
class head_pass {
public:
  head_pass(const study_setup& s, const study_job& j, const study_head& head)
      : s_(s), j_(j), head_(head), dim_(s.shape.head_dim), group_(s.shape.group()),
        queries_(j.part->tokens * group_), stride_(head.padded_tokens()), q_(queries_ * dim_),
        logits_(queries_ * stride_), out_(queries_ * head.padded_dim()) {
    const float scale = 1 / std::sqrt(static_cast<float>(dim_));
    for (std::size_t i = 0; i < q_.size(); ++i)
      q_[i] = scale * j.q[at(i / dim_) + i % dim_];
    auto scaled = q_;
    for (auto& x : scaled)
      x *= log2_e;
    head.logits(scaled.data(), queries_, logits_.data(), stride_);
    if (s.rule && estimated(s.rule->score) && head.padded_pages() > 0) {
      pages_stride_ = head.padded_pages();
      page_logits_.resize(queries_ * pages_stride_);
      head.page_logits(q_.data(), queries_, *s.rule, page_logits_.data(), pages_stride_);
    }
  }

  std::uint64_t run() {
    std::uint64_t read = 0;
    for (std::uint32_t r = 0; r < j_.part->tokens; ++r)
      read += row(r);
    head_.weigh_values(logits_.data(), queries_, stride_, out_.data());
    const auto width = head_.padded_dim();
    for (std::size_t i = 0; i < queries_; ++i)
      for (std::size_t c = 0; c < dim_; ++c)
        j_.out[at(i) + c] = out_[i * width + c] / sums_[i];
    return read;
  }

private:
  static bool estimated(study_score x) noexcept {
    return x != study_score::oracle && x != study_score::random;
  }

  /// Where query i of this head stands in the batch's Q and output, in floats.
  std::size_t at(std::size_t i) const {
    return ((j_.row + i / group_) * s_.shape.query_heads + j_.kv_head * group_ + i % group_) * dim_;
  }

  /// Leaves the row's weights in its logits; how many entries it reads.
  std::uint64_t row(std::uint32_t r) {
    const auto position = j_.part->position + r;
    const auto old = s_.geometry.old_pages(position);
    for (std::size_t i = r * group_; i < (r + 1) * group_; ++i)
      std::fill(logits_.begin() + static_cast<std::ptrdiff_t>(i * stride_ + position + 1),
                logits_.begin() + static_cast<std::ptrdiff_t>((i + 1) * stride_), nothing);
    if (s_.observer.row && s_.observer.wanted(position))
      observe(r, position, old);
    const auto left_out = s_.rule && old > 0 ? leave_out(r, position, old) : 0;
    for (std::size_t i = r * group_; i < (r + 1) * group_; ++i) {
      const auto [top, sum] = exponentials({logits_.data() + i * stride_, stride_});
      sums_.push_back(sum);
      if (j_.lse != nullptr)
        j_.lse[at(i) / dim_] = ln_2 * top + std::log(sum);
    }
    return position + 1 - left_out;
  }

  void observe(std::uint32_t r, std::uint32_t position, std::uint32_t old) {
    const auto first = logits_.begin() + static_cast<std::ptrdiff_t>(r * group_ * stride_);
    std::vector<float> weights(first, first + static_cast<std::ptrdiff_t>(group_ * stride_));
    for (std::size_t g = 0; g < group_; ++g) {
      const std::span one{weights.data() + g * stride_, stride_};
      const float sum = exponentials(one).sum;
      for (auto& x : one)
        x /= sum;
    }
    s_.observer.row({j_.part->sequence, j_.layer, j_.kv_head, position, old, &head_,
                     q_.data() + r * group_ * dim_, weights.data(), stride_, group_});
  }

  /// Takes the old pages that are not chosen out of the row's logits; how many entries they hold.
  std::uint64_t leave_out(std::uint32_t r, std::uint32_t position, std::uint32_t old) {
    const auto pages = s_.geometry.page_tokens;
    shares_.resize(old);
    score(r, position);
    chosen_.clear();
    auto count = policies::ceil_share(s_.rule->share_of(j_.layer), old);
    if (s_.rule->least_share > 0) // they rank first, so that the best `count` hold them all
      count = std::max<std::size_t>(
          count, static_cast<std::size_t>(std::ranges::count_if(shares_, [&](float x) {
            return static_cast<double>(x) >= s_.rule->least_share;
          })));
    policies::select_top(shares_, {}, count, workspace_, chosen_);
    std::vector<bool> keep(old);
    for (const auto page : chosen_)
      keep[page] = true;
    for (std::uint32_t p = 0; p < old; ++p)
      for (std::size_t i = r * group_; !keep[p] && i < (r + 1) * group_; ++i)
        std::fill_n(logits_.data() + i * stride_ + s_.geometry.sinks + p * pages, pages, nothing);
    return std::uint64_t{old - chosen_.size()} * pages;
  }

  void score(std::uint32_t r, std::uint32_t position) {
    std::ranges::fill(shares_, 0.0F);
    if (s_.rule->score == study_score::random) {
      for (std::size_t p = 0; p < shares_.size(); ++p)
        shares_[p] =
            random_score(j_.part->sequence.value * 4096 + j_.layer * 64 + j_.kv_head, position, p);
      return;
    }
    std::vector<float> logs(group_ * shares_.size());
    for (std::size_t g = 0; g < group_; ++g)
      log_masses(r * group_ + g, position,
                 std::span{logs}.subspan(g * shares_.size(), shares_.size()));
    // Within a head, softmax over the pages; with of_total, log_masses did that already.
    if (!s_.rule->of_total) {
      policies::mean_softmax(logs.data(), group_, shares_.size(), shares_);
      return;
    }
    for (std::size_t i = 0; i < logs.size(); ++i)
      shares_[i % shares_.size()] += std::exp(logs[i]) / static_cast<float>(group_);
  }

  /// Natural logs of the masses of query i's old pages: up to a constant, or with of_total as
  /// shares of the whole.
  void log_masses(std::size_t i, std::uint32_t position, std::span<float> logs) {
    const std::size_t pages = s_.geometry.page_tokens, sinks = s_.geometry.sinks;
    const auto* row = logits_.data() + i * stride_;
    for (std::size_t p = 0; p < logs.size(); ++p)
      logs[p] = s_.rule->score == study_score::oracle
                    ? log_sum({row + sinks + p * pages, pages})
                    : page_logits_[i * pages_stride_ + p] + std::log(static_cast<float>(pages));
    if (!s_.rule->of_total)
      return;
    const auto fixed = sinks + logs.size() * pages; // the window begins
    std::vector<float> whole(row, row + sinks);
    whole.insert(whole.end(), row + fixed, row + position + 1);
    for (auto& x : whole)
      x *= ln_2;
    whole.insert(whole.end(), logs.begin(), logs.end());
    const float all = moe_engine::log_sum_exp(whole);
    for (auto& x : logs)
      x -= all;
  }

  /// Natural log of the sum of 2^x.
  static float log_sum(std::span<const float> x) {
    std::vector<float> values{x.begin(), x.end()};
    const auto [top, sum] = exponentials(values);
    return ln_2 * top + std::log(sum);
  }

  const study_setup& s_;
  const study_job& j_;
  const study_head& head_;
  std::size_t dim_, group_, queries_, stride_;
  std::vector<float> q_;           // [queries, dim], scaled by 1 / sqrt(dim)
  std::vector<float> logits_;      // [queries, stride], in powers of 2; then weights
  std::vector<float> page_logits_; // [queries, pages_stride]
  std::size_t pages_stride_ = 0;
  std::vector<float> out_;  // [queries, padded dim]
  std::vector<float> sums_; // [queries]
  std::vector<float> shares_;
  std::vector<std::uint32_t> workspace_, chosen_;
};

} // namespace

std::uint64_t attend_head(const study_setup& setup, const study_job& job, const study_head& head) {
  return head_pass{setup, job, head}.run();
}

} // namespace pikv::tools
