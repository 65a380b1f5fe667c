// SPDX-License-Identifier: Apache-2.0
// Cluster: a page lives with the pages whose keys are like its own, by online k-means (MacQueen
// 1967) of the pages' mean keys, one clustering for each (sequence, layer). Queries that want one
// page of a cluster tend to want the others (ClusterKV, arXiv 2412.03213, clusters keys for the
// same reason), so routing by mass finds its mass in few shards.
//
//   the first N distinct means begin the N = `shards` clusters; then each page joins the nearest
//   centroid c by Euclidean distance (the lower of equals), and c += (mean - c) / pages of the
//   cluster.
//
// How good the clusters are depends on the pages that come first: where those are alike, two clusters
// share a group. Pages never change their cluster later, and nothing is drawn at random: the same pages in the
// same order give the same shards. An even load is not promised.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <pikv/policies/placement/page_label.hpp>

namespace pikv::policies {

namespace {

class cluster final : public placement_policy {
public:
  explicit cluster(std::uint32_t shards) noexcept : shards_(shards) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_keys() const noexcept override { return true; }
  shard_id place(const page_facts& page) const noexcept override { return striped(page, shards_); }

  shard_id place_and_learn(const page_facts& page, placement_memory& memory) const override {
    const auto& key = page.mean_key;
    if (key.empty() || !std::ranges::all_of(key, [](float x) { return std::isfinite(x); }))
      return place(page);
    if (memory.width != key.size() || memory.pages.size() > shards_)
      memory = {static_cast<std::uint32_t>(key.size()), {}, {}};
    auto [nearest, distance] = find_nearest(key, memory);
    if (distance > 0 && memory.pages.size() < shards_) {
      nearest = memory.pages.size();
      memory.pages.push_back(0);
      memory.centroids.resize(memory.centroids.size() + key.size(), 0.0F);
    }
    auto* centroid = memory.centroids.data() + nearest * key.size();
    const auto step = 1.0F / static_cast<float>(++memory.pages[nearest]);
    for (std::size_t i = 0; i < key.size(); ++i)
      centroid[i] += (key[i] - centroid[i]) * step;
    return {static_cast<std::uint32_t>(nearest)};
  }

private:
  static std::pair<std::size_t, double> find_nearest(std::span<const float> key,
                                                     const placement_memory& memory) noexcept {
    std::pair<std::size_t, double> best{0, std::numeric_limits<double>::infinity()};
    for (std::size_t c = 0; c < memory.pages.size(); ++c) {
      const auto* centroid = memory.centroids.data() + c * key.size();
      double distance = 0;
      for (std::size_t i = 0; i < key.size(); ++i) {
        const auto d = static_cast<double>(key[i]) - static_cast<double>(centroid[i]);
        distance += d * d;
      }
      if (distance < best.second)
        best = {c, distance};
    }
    return best;
  }

  std::uint32_t shards_;
};

} // namespace

table_entry<placement_policy> cluster_placement() {
  return {
      {"cluster", "by online k-means of the pages' mean keys (MacQueen; ClusterKV's clusters)", {}},
      [](const option_set&, const policy_context& context) -> std::unique_ptr<placement_policy> {
        return std::make_unique<cluster>(context.shards);
      }};
}

} // namespace pikv::policies
