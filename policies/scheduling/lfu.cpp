// SPDX-License-Identifier: Apache-2.0
// LFU with aging: utility = log2(1 + reads) + last read / half_life, the logarithm of the number of
// reads that is halved for every `half_life` ticks without one. Plain LFU keeps what was read often
// long ago for good; aging is that of LRFU (Lee et al., IEEE Trans. Computers 2001) with the whole
// count moved to the last read, so that it is one number that changes only when the page is read.
#include <cmath>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

class lfu final : public scheduling_policy {
public:
  explicit lfu(std::int64_t half_life) noexcept : half_life_(static_cast<double>(half_life)) {}
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return true; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    const auto aged = half_life_ > 0 ? static_cast<double>(page.last_read_at) / half_life_ : 0.0;
    return std::log2(1 + static_cast<double>(page.reads)) + aged;
  }

private:
  double half_life_;
};

std::vector<option_spec> options() {
  return {{.name = "half_life",
           .type = option_type::integer,
           .fallback = std::int64_t{1024},
           .help = "ticks without a read that halve a page's count; 0: counts do not age",
           .min = 0,
           .max = 1e9,
           .choices = {}}};
}

} // namespace

table_entry<scheduling_policy> lfu_scheduling() {
  return {{"lfu", "the page with the fewest reads goes first; counts age (LRFU, IEEE TC 2001)",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<lfu>(x.integer("half_life"));
          }};
}

} // namespace pikv::policies
