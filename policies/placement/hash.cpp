// SPDX-License-Identifier: Apache-2.0
// Hash, from the PiKV paper (arXiv 2508.06526): s(t, e) = (t mod N_tok) xor (e mod N_exp).
//
// Here t is the page index, e the most frequent top-1 expert of the page's tokens (0 where the page
// is not annotated), and N_tok = N_exp = the largest power of two that is not above the number of
// shards: the xor of two numbers below a power of two stays below it, with unequal or other moduli
// it would leave the range or fill it unevenly. Shards at and above that power of two stay empty.
//
// What it gives: consecutive pages of one expert sweep all used shards, so the load is even. What
// it does not give: locality by expert. For a fixed e it is a permuted stripe over t, so the pages
// of one expert lie on every shard, and a route by expert has to read them all.
#include <bit>

#include <pikv/policies/placement/page_label.hpp>

namespace pikv::policies {

namespace {

class hash final : public placement_policy {
public:
  explicit hash(const policy_context& context) noexcept
      : mask_(std::bit_floor(context.shards) - 1), needs_gate_(context.experts > 0) {}
  bool needs_gate() const noexcept override { return needs_gate_; }
  shard_id place(const page_facts& page) const noexcept override {
    const std::uint32_t expert = page.top_experts.empty() ? 0 : majority_expert(page.top_experts);
    return {(page.page & mask_) ^ (expert & mask_)};
  }

private:
  std::uint32_t mask_;
  bool needs_gate_;
};

} // namespace

table_entry<placement_policy> hash_placement() {
  return {
      {"hash",
       "the paper's (page mod N) xor (majority expert mod N), N = 2^floor(log2 shards)",
       {}},
      [](const option_set&, const policy_context& context) -> std::unique_ptr<placement_policy> {
        return std::make_unique<hash>(context);
      }};
}

} // namespace pikv::policies
