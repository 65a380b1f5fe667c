// SPDX-License-Identifier: Apache-2.0
// Mass: pages ranked by the second-order estimate of the softmax mass of their n keys,
//   log m = log n + q.mean / sqrt(d) + 1/2 sum_c (q_c / sqrt(d))^2 var_c,
// the cumulant expansion of log sum exp(q.k / sqrt(d)) for keys with that mean and variance. The
// variance matters: without it a page whose one key matches the query ranks with the average ones.
// Rank: softmax of log m over the pages per query head, then the mean over the heads of the scope.
//
// With `coverage` the number of pages follows from the estimate: the fewest with which the row
// reads that share of its mass, what it reads in any case included, whose mass is known exactly
// (cover.hpp), and never less than the share `least` of the old pages: without it rows whose sinks
// and window reach the target read nothing, and needles are lost. With `certified` the pages are
// ranked by an upper bound of their mass, log n + Quest's bound (arXiv 2406.10774), and as many are
// read as make that coverage certain. The bound is loose where head_dim is large: it may have to
// read nearly everything. It holds for raw pages only.
#include <pikv/policies/selection/page_budget.hpp>

namespace pikv::policies {

namespace {

class mass final : public selection_policy {
public:
  mass(page_budget budget, double coverage, double least, bool certified) noexcept
      : budget_(budget), coverage_(coverage), least_(least), certified_(certified && coverage > 0) {
  }
  page_score score() const noexcept override {
    return certified_ ? page_score::quest : page_score::mass;
  }
  head_scope scope() const noexcept override { return budget_.scope; }
  std::size_t pages_to_read(std::size_t eligible) const noexcept override {
    return coverage_ > 0 ? eligible : budget_.of(eligible);
  }
  double coverage() const noexcept override { return coverage_; }
  std::size_t least_pages(std::size_t eligible) const noexcept override {
    return least_ > 0 ? ceil_share(least_, eligible) : 0;
  }
  bool certified() const noexcept override { return certified_; }
  std::optional<select_budget> budget() const noexcept override {
    return coverage_ > 0 ? std::nullopt : std::optional{budget_.rule()};
  }

private:
  page_budget budget_;
  double coverage_;
  double least_;
  bool certified_;
};

std::vector<option_spec> options() {
  auto out = page_budget::options();
  out.push_back({.name = "coverage",
                 .type = option_type::real,
                 .fallback = 0.0,
                 .help =
                     "share of a row's attention mass to read with the fewest pages, instead of "
                     "a share of the pages; 0: use the share",
                 .min = 0,
                 .max = 1,
                 .choices = {}});
  out.push_back({.name = "least",
                 .type = option_type::real,
                 .fallback = 0.0,
                 .help = "with coverage: share of the old pages that a row reads in any case, "
                         "rounded up; keeps needles at little cost",
                 .min = 0,
                 .max = 1,
                 .choices = {}});
  out.push_back({.name = "certified",
                 .type = option_type::boolean,
                 .fallback = false,
                 .help = "with coverage: reach it for certain, by a bound instead of the estimate",
                 .min = {},
                 .max = {},
                 .choices = {}});
  return out;
}

} // namespace

table_entry<selection_policy> mass_selection() {
  return {{"mass", "the pages with the largest estimated attention mass, by number or by coverage",
           options()},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<selection_policy> {
            return std::make_unique<mass>(page_budget::from(x), x.real("coverage"), x.real("least"),
                                          x.boolean("certified"));
          }};
}

} // namespace pikv::policies
