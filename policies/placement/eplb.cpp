// SPDX-License-Identifier: Apache-2.0
// EPLB: pages live with their expert, as placement `gate` has them, and the shards move between the
// devices so that what is read is spread evenly: DeepSeek's expert parallel load balancer (EPLB,
// github.com/deepseek-ai/eplb), its packing half. Loads are measured, not declared: what queries
// have read of each shard lately. A hot shard moves as a whole, so one that alone exceeds a
// device's part stays the limit; EPLB's replicas are computed (balance.hpp: replicate_hot) and not
// kept live.
#include <pikv/policies/placement/page_label.hpp>

namespace pikv::policies {

namespace {

class eplb final : public placement_policy {
public:
  eplb(const policy_context& context, double tolerated) noexcept
      : shards_(context.shards), needs_gate_(context.experts > 0), tolerated_(tolerated) {}
  bool needs_gate() const noexcept override { return needs_gate_; }
  double tolerated_imbalance() const noexcept override { return tolerated_; }
  shard_id place(const page_facts& page) const noexcept override {
    if (page.top_experts.empty())
      return striped(page, shards_);
    return {majority_expert(page.top_experts) % shards_};
  }

private:
  std::uint32_t shards_;
  bool needs_gate_;
  double tolerated_;
};

std::vector<option_spec> options() {
  return {{.name = "tolerated",
           .type = option_type::real,
           .fallback = 1.2,
           .help = "load of the busiest device over the mean of all beyond which shards move",
           .min = 1.01,
           .max = 100,
           .choices = {}}};
}

} // namespace

table_entry<placement_policy> eplb_placement() {
  return {
      {"eplb", "by expert as gate, and hot shards move to idle devices (DeepSeek's EPLB)",
       options()},
      [](const option_set& x, const policy_context& context) -> std::unique_ptr<placement_policy> {
        return std::make_unique<eplb>(context, x.real("tolerated"));
      }};
}

} // namespace pikv::policies
