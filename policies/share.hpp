// SPDX-License-Identifier: Apache-2.0
/// \file
/// Counting a share of things.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pikv::policies {

/// ceil(share * count) for a share in (0, 1], in [1, count] for count > 0 and 0 for count = 0. A
/// product that exceeds a whole number by less than 1e-9 of itself counts as that number: 0.07 of
/// 100 is 7, although 0.07 * 100 > 7 in floating point.
inline std::uint64_t ceil_share(double share, std::uint64_t count) noexcept {
  if (count == 0)
    return 0;
  const auto product = share * static_cast<double>(count);
  const auto rounded = static_cast<std::uint64_t>(std::ceil(product * (1 - 1e-9)));
  return std::clamp<std::uint64_t>(rounded, 1, count);
}

} // namespace pikv::policies
