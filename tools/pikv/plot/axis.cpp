// SPDX-License-Identifier: Apache-2.0
#include "plot/axis.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace pikv::plot {

namespace {

std::vector<double> linear_ticks(const axis& x, std::size_t wanted) {
  const double rough = (x.high - x.low) / static_cast<double>(std::max<std::size_t>(wanted, 1));
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  std::vector<double> out;
  for (auto i = std::ceil(x.low / step - 1e-9); i * step <= x.high * (1 + 1e-9); ++i)
    out.push_back(i * step);
  return out;
}

/// Powers of two over a few octaves, else 1, 2 and 5 times powers of ten, else powers of ten.
std::vector<double> log_ticks(const axis& x, std::size_t wanted) {
  std::vector<double> out;
  const double octaves = std::log2(x.high / x.low);
  if (octaves <= static_cast<double>(wanted) + 1) {
    for (double v = std::exp2(std::ceil(std::log2(x.low) - 1e-9)); v <= x.high * 1.000001; v *= 2)
      out.push_back(v);
    return out;
  }
  const bool fine = std::log10(x.high / x.low) * 3 <= static_cast<double>(wanted) * 2;
  for (double p = std::pow(10.0, std::floor(std::log10(x.low))); p <= x.high; p *= 10)
    for (const double factor : {1.0, 2.0, 5.0})
      if ((fine || factor == 1.0) && factor * p >= x.low * 0.999999
          && factor * p <= x.high * 1.000001)
        out.push_back(factor * p);
  return out;
}

} // namespace

axis fitted(axis x, std::span<const double> values) {
  if (x.low != x.high)
    return x;
  const bool log = x.kind == scale::log;
  bool any = false;
  for (const double v : values) {
    if (!std::isfinite(v) || (log && v <= 0))
      continue;
    x.low = any ? std::min(x.low, v) : v;
    x.high = any ? std::max(x.high, v) : v;
    any = true;
  }
  if (!any)
    x.low = x.high = 1;
  if (log) {
    const double room = std::max(1.1, std::pow(x.high / x.low, 0.06));
    x.low /= room;
    x.high *= room;
  } else {
    const double room = x.high > x.low ? 0.06 * (x.high - x.low) : std::max(1.0, std::abs(x.low));
    x.low -= room;
    x.high += room;
  }
  return x;
}

double place(const axis& x, double value) noexcept {
  if (!std::isfinite(value) || x.high <= x.low)
    return 0;
  double at = 0;
  if (x.kind == scale::log)
    at = value <= 0 ? 0 : std::log(value / x.low) / std::log(x.high / x.low);
  else
    at = (value - x.low) / (x.high - x.low);
  return std::clamp(at, 0.0, 1.0);
}

std::vector<double> ticks(const axis& x, std::size_t wanted) {
  if (x.high <= x.low)
    return {};
  return x.kind == scale::log ? log_ticks(x, wanted) : linear_ticks(x, wanted);
}

std::string tick_text(const axis& x, double value) {
  if (std::abs(value) < 1e-12)
    value = 0; // else -0 and 1e-17 show
  return x.percent ? fmt::format("{:.4g}%", 100 * value) : fmt::format("{:.5g}", value);
}

} // namespace pikv::plot
