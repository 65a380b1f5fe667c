// SPDX-License-Identifier: Apache-2.0
// EPLB-aware: k shards by estimated mass with the work kept even over the devices that own them,
// the objective of DeepSeek's expert parallel load balancer (an attend ends with its slowest
// device). Shards are taken one after another; each is the one with the largest
//   mass_s - alpha * (L_d / sum L - 1 / devices),   d the owner of s,
// L_d what the lane has read of device d lately plus, as the route grows, 1/k of that total for
// each shard already taken there. The placement `eplb` moves hot shards between devices; this
// spreads what is read until it does. With one device, or alpha 0, it is `mass`.
#include <pikv/policies/routing/ranked_shards.hpp>
#include <pikv/policies/routing/routing_policy.hpp>
#include <pikv/policies/routing/width_option.hpp>

namespace pikv::policies {

namespace {

constexpr std::size_t most_devices = 64; // of devices.count

class eplb final : public routing_policy {
public:
  eplb(std::int64_t k, double alpha) noexcept
      : k_(static_cast<std::size_t>(k)), alpha_(static_cast<float>(alpha)) {}
  bool needs_gate() const noexcept override { return false; }
  bool needs_mass() const noexcept override { return true; }
  bool needs_load() const noexcept override { return true; }
  void route(const route_query& query, std::span<std::uint8_t> in_route) const noexcept override {
    if (route_all_unless_known(query.shard_mass, in_route))
      return;
    std::ranges::fill(in_route, std::uint8_t{0});
    const ranked_shards shards{in_route.size(), query.shard_pages,
                               [&](std::size_t s) { return query.shard_mass[s]; }};
    loads work{query, in_route.size(), k_};
    for (std::size_t taken = 0; taken < std::min(k_, shards.order().size()); ++taken) {
      auto best = in_route.size();
      float best_score = 0;
      for (const auto s : shards.order()) { // descending mass: the first of equals stays
        if (in_route[s] != 0)
          continue;
        const auto mass = std::isnan(query.shard_mass[s]) ? 0.0F : query.shard_mass[s];
        const auto score = mass - alpha_ * work.over(s);
        if (best == in_route.size() || score > best_score) {
          best = s;
          best_score = score;
        }
      }
      in_route[best] = 1;
      work.take(best);
    }
  }

private:
  /// What each device has to read, this route's shards included.
  class loads {
  public:
    loads(const route_query& query, std::size_t shards, std::size_t k) noexcept
        : owner_(query.shard_owner) {
      for (std::size_t s = 0; s < shards; ++s) {
        devices_ = std::max(devices_, device(s) + 1);
        const auto x = query.shard_load.empty() ? 0.0F : query.shard_load[s];
        load_[device(s)] += x;
        total_ += x;
      }
      step_ = total_ > 0 ? total_ / static_cast<float>(k) : 1.0F;
    }
    float over(std::size_t s) const noexcept {
      const auto share = total_ > 0 ? load_[device(s)] / total_ : 0.0F;
      return share - (total_ > 0 ? 1.0F / static_cast<float>(devices_) : 0.0F);
    }
    void take(std::size_t s) noexcept {
      load_[device(s)] += step_;
      total_ += step_;
    }

  private:
    std::size_t device(std::size_t s) const noexcept {
      return owner_.empty() ? 0 : std::min<std::size_t>(owner_[s], most_devices - 1);
    }
    std::span<const std::uint32_t> owner_;
    std::array<float, most_devices> load_{};
    std::size_t devices_ = 1;
    float total_ = 0;
    float step_ = 1;
  };

  std::size_t k_;
  float alpha_;
};

std::vector<option_spec> options() {
  return {width_option(),
          {.name = "alpha",
           .type = option_type::real,
           .fallback = 0.1,
           .help = "share of the mass that a device with all of the load costs its shards",
           .min = 0,
           .max = 100,
           .choices = {}}};
}

} // namespace

table_entry<routing_policy> eplb_routing() {
  return {{"eplb",
           "k shards by estimated mass with the load of their devices kept even (DeepSeek EPLB's "
           "objective)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<routing_policy> {
            return std::make_unique<eplb>(x.integer("k"), x.real("alpha"));
          }};
}

} // namespace pikv::policies
