// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which device each shard should live on, and how many replicas hot shards should have: DeepSeek's
/// expert parallel load balancer (EPLB, github.com/deepseek-ai/eplb), with shards as its experts.
/// Pure functions of measured loads; equal inputs give equal results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pikv::policies {

/// Spreads items over `packs` packs, ceil(n / packs) items each at most: heaviest first, each to
/// the lightest pack that has room (EPLB's balanced_packing; the lower pack of equals). Returns the
/// pack of each item. Loads that are negative or NaN count as 0. Precondition: packs > 0.
std::vector<std::uint32_t> pack_evenly(std::span<const double> loads, std::size_t packs);

/// Gives out `physical` >= n places to n items: one each, then one after another to the item with
/// the largest load per replica (EPLB's replicate_experts; the lower of equals). Returns the item
/// of each place, items 0 ... n - 1 first. Precondition: loads is not empty.
std::vector<std::uint32_t> replicate_hot(std::span<const double> loads, std::size_t physical);

/// Largest load of a device over the mean of all; 1 where nothing is loaded.
double imbalance(std::span<const double> loads, std::span<const std::uint32_t> owners,
                 std::size_t devices);

/// Owners after a rebalance: `pack_evenly`'s packs, named so that as much load as possible stays
/// where it is. `owners` as they are where the imbalance is at most `tolerated` or would not fall
/// by a tenth of what it exceeds 1 by. Precondition: every owner < devices, devices > 0.
std::vector<std::uint32_t> rebalance(std::span<const double> loads,
                                     std::span<const std::uint32_t> owners, std::size_t devices,
                                     double tolerated);

} // namespace pikv::policies
