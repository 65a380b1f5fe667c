// SPDX-License-Identifier: Apache-2.0
// Stripe: shard = (page index + layer) mod shards. Spreads every sequence evenly whatever it holds
// and needs nothing to be known of the tokens.
#include <pikv/policies/placement/page_label.hpp>

namespace pikv::policies {

namespace {

class stripe final : public placement_policy {
public:
  explicit stripe(std::uint32_t shards) noexcept : shards_(shards) {}
  bool needs_gate() const noexcept override { return false; }
  shard_id place(const page_facts& page) const noexcept override { return striped(page, shards_); }

private:
  std::uint32_t shards_;
};

} // namespace

table_entry<placement_policy> stripe_placement() {
  return {
      {"stripe", "pages in turn: (page index + layer) mod shards", {}},
      [](const option_set&, const policy_context& context) -> std::unique_ptr<placement_policy> {
        return std::make_unique<stripe>(context.shards);
      }};
}

} // namespace pikv::policies
