// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection by a coverage target: as few pages as reach it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pikv::policies {

/// The fewest pages, largest share first, with which `always` and their shares add up to `target`;
/// all allowed ones where they do not reach it; but never fewer than `least`. `shares` are
/// estimated shares of a row's whole softmax mass (mean_softmax with `rest`), `always` the share of
/// what the row reads in any case. Ties go to the lower index. Appends ascending indices to
/// `chosen`; pages with `allowed[i] == 0` are never chosen (empty span: all may be). `workspace` is
/// reused between calls.
void select_cover(std::span<const float> shares, std::span<const std::uint8_t> allowed,
                  double always, double target, std::size_t least,
                  std::vector<std::uint32_t>& workspace, std::vector<std::uint32_t>& chosen);

/// The same with a guarantee in place of the estimate. `bounds` is `[heads, pages]` (row stride
/// `pages_stride`): for each head an upper bound of the log of the page's sum of exp(logit), so
/// log(tokens) + Quest's bound of its logits. `rest[h]` is the exact log mass of what head h reads
/// in any case. With X_h the sum of exp(bound) of the pages that stay unread, head h misses at most
/// X_h / (exp(rest_h) + X_h) of its mass: that is increasing in X_h, and what the chosen pages add
/// to the rest only lowers it. Chooses the shortest list, in the order of `shares`, for which the
/// mean of those bounds over the heads is at most 1 - target. Returns false, having chosen all,
/// where pages that are not allowed leave too much.
bool select_certified(const float* bounds, std::size_t heads, std::size_t pages_stride,
                      std::span<const float> rest, std::span<const float> shares,
                      std::span<const std::uint8_t> allowed, double target,
                      std::vector<std::uint32_t>& workspace, std::vector<std::uint32_t>& chosen);

} // namespace pikv::policies
