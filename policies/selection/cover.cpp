// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/selection/cover.hpp>

#include <algorithm>
#include <cmath>

namespace pikv::policies {

namespace {

/// NaN counts as nothing.
double share_of(float x) noexcept { return x > 0 ? static_cast<double>(x) : 0.0; }

void list_allowed(std::size_t pages, std::span<const std::uint8_t> allowed,
                  std::vector<std::uint32_t>& out) {
  out.clear();
  for (std::uint32_t i = 0; i < pages; ++i)
    if (allowed.empty() || allowed[i] != 0)
      out.push_back(i);
}

auto larger_share(std::span<const float> shares) {
  return [shares](std::uint32_t a, std::uint32_t b) {
    const auto x = share_of(shares[a]), y = share_of(shares[b]);
    return x != y ? x > y : a < b;
  };
}

/// One head: masses relative to its largest, so that nothing overflows.
struct head_bound {
  double top = 0;    ///< log
  double read = 0;   ///< what it reads in any case
  double unread = 0; ///< upper bound of what it does not read

  head_bound(const float* bounds, std::size_t pages, float rest) : top(rest) {
    for (std::size_t i = 0; i < pages; ++i)
      top = std::max(top, static_cast<double>(bounds[i]));
    if (std::isinf(top) && top < 0)
      top = 0; // there is nothing
    read = std::exp(static_cast<double>(rest) - top);
  }
  void leave(float bound) { unread += std::exp(static_cast<double>(bound) - top); }
};

/// Sum over the heads of the share that each may miss at most.
double missed(std::span<const head_bound> heads) noexcept {
  double sum = 0;
  for (const auto& x : heads)
    sum += x.unread == 0 ? 0.0 : x.unread / (x.read + x.unread);
  return sum;
}

} // namespace

void select_cover(std::span<const float> shares, std::span<const std::uint8_t> allowed,
                  double always, double target, std::size_t least,
                  std::vector<std::uint32_t>& workspace, std::vector<std::uint32_t>& chosen) {
  if (always >= target && least == 0)
    return;
  list_allowed(shares.size(), allowed, workspace);
  // A heap: few of many pages are wanted, in order.
  const auto larger = larger_share(shares);
  const auto smaller = [&](std::uint32_t a, std::uint32_t b) { return larger(b, a); };
  std::ranges::make_heap(workspace, smaller);
  auto end = workspace.end();
  auto covered = always;
  for (std::size_t n = 0; end != workspace.begin() && (n < least || covered < target); ++n) {
    covered += share_of(shares[workspace.front()]);
    std::pop_heap(workspace.begin(), end, smaller);
    --end;
  }
  std::sort(end, workspace.end());
  chosen.insert(chosen.end(), end, workspace.end());
}

bool select_certified(const float* bounds, std::size_t heads, std::size_t pages_stride,
                      std::span<const float> rest, std::span<const float> shares,
                      std::span<const std::uint8_t> allowed, double target,
                      std::vector<std::uint32_t>& workspace, std::vector<std::uint32_t>& chosen) {
  const auto pages = shares.size();
  std::vector<head_bound> each;
  for (std::size_t h = 0; h < heads; ++h)
    each.emplace_back(bounds + h * pages_stride, pages, rest[h]);
  const auto leave = [&](std::size_t page) {
    for (std::size_t h = 0; h < heads; ++h)
      each[h].leave(bounds[h * pages_stride + page]);
  };
  for (std::size_t i = 0; i < pages; ++i)
    if (!allowed.empty() && allowed[i] == 0)
      leave(i);
  const auto most = (1 - target) * static_cast<double>(heads);
  const bool certain = missed(each) <= most;
  list_allowed(pages, allowed, workspace);
  std::ranges::sort(workspace, larger_share(shares));
  auto end = workspace.end();
  while (certain && end != workspace.begin()) {
    leave(*(end - 1));
    if (!(missed(each) <= most))
      break;
    --end;
  }
  const auto before = static_cast<std::ptrdiff_t>(chosen.size());
  chosen.insert(chosen.end(), workspace.begin(), end);
  std::sort(chosen.begin() + before, chosen.end());
  return certain;
}

} // namespace pikv::policies
