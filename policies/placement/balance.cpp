// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/placement/balance.hpp>

#include <algorithm>
#include <numeric>

namespace pikv::policies {

namespace {

double sane(double x) noexcept { return x > 0 ? x : 0.0; }

/// Indices by descending load, lower ones first among equals.
std::vector<std::size_t> heaviest_first(std::span<const double> loads) {
  std::vector<std::size_t> order(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return sane(loads[a]) > sane(loads[b]); });
  return order;
}

std::vector<double> loads_of_devices(std::span<const double> loads,
                                     std::span<const std::uint32_t> owners, std::size_t devices) {
  std::vector<double> out(devices);
  for (std::size_t i = 0; i < loads.size(); ++i)
    out[owners[i]] += sane(loads[i]);
  return out;
}

/// Which device each pack should be, so that much load stays: the largest overlap first.
std::vector<std::uint32_t> name_packs(std::span<const double> loads,
                                      std::span<const std::uint32_t> owners,
                                      std::span<const std::uint32_t> packs, std::size_t devices) {
  std::vector<double> overlap(devices * devices); // [pack, device]
  for (std::size_t i = 0; i < loads.size(); ++i)
    overlap[packs[i] * devices + owners[i]] += sane(loads[i]) + 1e-9; // pages without load move too
  const auto order = heaviest_first(overlap);
  constexpr auto none = static_cast<std::uint32_t>(-1);
  std::vector<std::uint32_t> name(devices, none);
  std::vector<bool> taken(devices);
  for (const auto i : order)
    if (const auto pack = i / devices, device = i % devices; name[pack] == none && !taken[device]) {
      name[pack] = static_cast<std::uint32_t>(device);
      taken[device] = true;
    }
  return name;
}

} // namespace

std::vector<std::uint32_t> pack_evenly(std::span<const double> loads, std::size_t packs) {
  const auto room = (loads.size() + packs - 1) / packs;
  std::vector<std::uint32_t> pack_of(loads.size());
  std::vector<double> weight(packs);
  std::vector<std::size_t> items(packs);
  for (const auto i : heaviest_first(loads)) {
    auto best = packs;
    for (std::size_t p = 0; p < packs; ++p)
      if (items[p] < room && (best == packs || weight[p] < weight[best]))
        best = p;
    pack_of[i] = static_cast<std::uint32_t>(best);
    weight[best] += sane(loads[i]);
    ++items[best];
  }
  return pack_of;
}

std::vector<std::uint32_t> replicate_hot(std::span<const double> loads, std::size_t physical) {
  std::vector<std::uint32_t> item_of(loads.size());
  std::iota(item_of.begin(), item_of.end(), 0U);
  std::vector<double> replicas(loads.size(), 1);
  while (item_of.size() < physical) {
    std::size_t hottest = 0;
    for (std::size_t i = 1; i < loads.size(); ++i)
      if (sane(loads[i]) / replicas[i] > sane(loads[hottest]) / replicas[hottest])
        hottest = i;
    item_of.push_back(static_cast<std::uint32_t>(hottest));
    ++replicas[hottest];
  }
  return item_of;
}

double imbalance(std::span<const double> loads, std::span<const std::uint32_t> owners,
                 std::size_t devices) {
  const auto by_device = loads_of_devices(loads, owners, devices);
  const auto total = std::accumulate(by_device.begin(), by_device.end(), 0.0);
  return total > 0 ? std::ranges::max(by_device) * static_cast<double>(devices) / total : 1.0;
}

std::vector<std::uint32_t> rebalance(std::span<const double> loads,
                                     std::span<const std::uint32_t> owners, std::size_t devices,
                                     double tolerated) {
  std::vector<std::uint32_t> stay{owners.begin(), owners.end()};
  const auto now = imbalance(loads, owners, devices);
  if (now <= tolerated)
    return stay;
  auto packs = pack_evenly(loads, devices);
  const auto name = name_packs(loads, owners, packs, devices);
  for (auto& x : packs)
    x = name[x];
  return now - imbalance(loads, packs, devices) > 0.1 * (now - 1) ? packs : stay;
}

} // namespace pikv::policies
