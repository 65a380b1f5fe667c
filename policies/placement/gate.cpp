// SPDX-License-Identifier: Apache-2.0
// Gate: a page lives with its expert. The label is the most frequent top-1 expert of the page's
// tokens (the lower one of equals) and shard = label mod shards, so that routing by gate finds the
// page. Pages that are not annotated are striped. How good a label is for reading is measured in
// the audits; the even spread of a stripe is not promised.
#include <pikv/policies/placement/page_label.hpp>

namespace pikv::policies {

namespace {

class gate final : public placement_policy {
public:
  explicit gate(const policy_context& context) noexcept
      : shards_(context.shards), needs_gate_(context.experts > 0) {}
  bool needs_gate() const noexcept override { return needs_gate_; }
  shard_id place(const page_facts& page) const noexcept override {
    if (page.top_experts.empty())
      return striped(page, shards_);
    return {majority_expert(page.top_experts) % shards_};
  }

private:
  std::uint32_t shards_;
  bool needs_gate_; // a model without a gate never annotates: waiting for it would never end
};

} // namespace

table_entry<placement_policy> gate_placement() {
  return {
      {"gate", "by the page's most frequent top-1 expert, mod shards", {}},
      [](const option_set&, const policy_context& context) -> std::unique_ptr<placement_policy> {
        return std::make_unique<gate>(context);
      }};
}

} // namespace pikv::policies
