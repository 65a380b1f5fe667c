// SPDX-License-Identifier: Apache-2.0
// LRU+: recency that waits longer for pages that are likelier to be read again. Utility, in ticks:
//
//   last read + turnover * (patience * reuse) + [read before] * (turnover * protect - gap)
//
// turnover is the time in which plain LRU would drop a page, at most the mean gap between reads, so
// that the constants do not depend on the size of the cache or the pace of the traffic. reuse is
// the learned share of pages of the same class that were read again (after SHiP, MICRO 2011). Pages
// that were read before are protected, as in SLRU (Karedla et al., IEEE Computer 1994), the more so
// the shorter their usual gap between reads, which counts up to `longest_gap` turnovers (LIRS,
// SIGMETRICS 2002, ranks by the gap alone). The paper of PiKV has a sum of recency, frequency and
// importance under this name, with fixed weights on unlike units. The defaults here were found on the
// two Mooncake request traces.
#include <algorithm>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

namespace {

struct lru_plus_options {
  double patience = 8;
  double protect = 4;
  double longest_gap = 2;
};

class lru_plus final : public scheduling_policy {
public:
  explicit lru_plus(const lru_plus_options& options) noexcept : options_(options) {}
  bool needs_mass() const noexcept override { return false; }
  bool needs_reads() const noexcept override { return true; }
  bool ages() const noexcept override { return false; }
  double utility(const page_record& page, const schedule_context&) const noexcept override {
    auto ticks =
        static_cast<double>(page.last_read_at) + page.turnover * options_.patience * page.reuse;
    if (page.reads > 0)
      ticks += page.turnover * options_.protect
               - std::min(page.mean_gap, page.turnover * options_.longest_gap);
    return ticks;
  }

private:
  lru_plus_options options_;
};

option_spec turnovers(std::string name, double fallback, std::string help) {
  return {.name = std::move(name),
          .type = option_type::real,
          .fallback = fallback,
          .help = std::move(help),
          .min = 0,
          .max = 1000,
          .choices = {}};
}

} // namespace

table_entry<scheduling_policy> lru_plus_scheduling() {
  constexpr lru_plus_options x;
  return {{"lru_plus",
           "least recently used, but longer for pages of kinds that are read again (after SHiP, "
           "SLRU and LIRS)",
           {turnovers("patience", x.patience,
                      "how much longer a page that is sure to be read again is kept, in turnovers"),
            turnovers("protect", x.protect,
                      "how much longer a page that was read before is kept, in turnovers"),
            turnovers("longest_gap", x.longest_gap,
                      "gap between reads up to which a longer one takes from that, in turnovers")}},
          [](const option_set& o, const policy_context&) -> std::unique_ptr<scheduling_policy> {
            return std::make_unique<lru_plus>(
                lru_plus_options{o.real("patience"), o.real("protect"), o.real("longest_gap")});
          }};
}

} // namespace pikv::policies
