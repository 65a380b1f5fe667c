// SPDX-License-Identifier: Apache-2.0
#include "eval/recall_sums.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include <pikv/policies/selection/selection_policy.hpp>
#include <pikv/policies/share.hpp>

namespace pikv::tools {

namespace {

/// What the best items by value hold of their mass, as many as lie in the shares of the pages
/// rounded up, so that all selectors read the same; an item is 1 / `items_a_page` of a page. Ties
/// go to the first.
recalls found_by(std::span<const float> value, std::span<const float> mass,
                 std::size_t items_a_page) {
  std::vector<std::size_t> order(value.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return value[a] > value[b]; });
  recalls out{};
  const auto pages = order.size() / items_a_page;
  for (std::size_t s = 0; s < out.size(); ++s)
    for (std::size_t i = 0; i < items_a_page * policies::ceil_share(recall_shares[s], pages); ++i)
      out[s] += static_cast<double>(mass[order[i]]);
  return out;
}

/// How much the query's gate likes the best expert of each entry.
std::vector<float> gate_values(std::span<const float> gates, std::size_t experts, std::size_t first,
                               std::size_t count, std::size_t query) {
  const auto of = [&](std::size_t token) { return gates.subspan(token * experts, experts); };
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto label = std::ranges::max_element(of(first + i)) - of(first + i).begin();
    out[i] = of(query)[static_cast<std::size_t>(label)];
  }
  return out;
}

std::vector<float> random_values(std::size_t count, std::size_t seed) {
  std::vector<float> out(count);
  std::uint32_t x = static_cast<std::uint32_t>(seed * 2654435761U + 1);
  for (auto& v : out) {
    x = x * 1664525U + 1013904223U;
    v = static_cast<float>(x >> 8);
  }
  return out;
}

} // namespace

void recall_sums::add(const study_row& x, std::span<const float> gates) {
  const std::size_t page = geometry_.page_tokens, entries = x.old_pages * page;
  if (x.old_pages == 0)
    return;
  std::vector<float> mass(entries), pages(x.old_pages);
  for (std::size_t g = 0; g < x.group; ++g)
    for (std::size_t i = 0; i < entries; ++i)
      mass[i] += x.weights[g * x.weight_stride + geometry_.sinks + i];
  for (std::size_t i = 0; i < entries; ++i)
    pages[i / page] += mass[i];
  const double all = std::accumulate(mass.begin(), mass.end(), 0.0);
  const auto estimate = [&](study_score score) {
    const auto stride = x.head->padded_pages();
    std::vector<float> logs(x.group * stride), shares(x.old_pages);
    x.head->page_logits(x.q, x.group, {.score = score}, logs.data(), stride);
    policies::mean_softmax(logs.data(), x.group, stride, shares);
    return found_by(shares, pages, 1);
  };
  std::array<std::optional<recalls>, recall_selectors.size()> found;
  found[0] =
      found_by(random_values(entries, x.position * 64 + x.layer * 8 + x.kv_head), mass, page);
  if (!gates.empty())
    found[1] =
        found_by(gate_values(gates, experts_, geometry_.sinks, entries, x.position), mass, page);
  found[2] = estimate(study_score::quest);
  found[3] = estimate(study_score::mass_first);
  found[4] = estimate(study_score::mass);
  found[5] = found_by(pages, pages, 1);
  found[6] = found_by(mass, mass, page);
  const std::lock_guard lock{mutex_};
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!found[i])
      continue;
    sums_[i].all += all;
    for (std::size_t s = 0; s < recall_shares.size(); ++s)
      sums_[i].found[s] += (*found[i])[s];
  }
}

std::vector<recalls> recall_sums::shares() const {
  const std::lock_guard lock{mutex_};
  std::vector<recalls> out;
  for (const auto& x : sums_) {
    auto& to = out.emplace_back(recalls{});
    for (std::size_t s = 0; x.all > 0 && s < recall_shares.size(); ++s)
      to[s] = x.found[s] / x.all;
  }
  return out;
}

} // namespace pikv::tools
