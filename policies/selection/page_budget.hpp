// SPDX-License-Identifier: Apache-2.0
/// \file
/// The options that selections with a page budget share: `heads`, `share`, `pages`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <pikv/policies/selection/selection_policy.hpp>
#include <pikv/policies/share.hpp>

namespace pikv::policies {

/// How many pages a row reads, for which heads: ceil(share * eligible), or min(pages, eligible)
/// where `pages` is given.
struct page_budget {
  head_scope scope = head_scope::per_kv_head;
  double share = 0.125;
  std::uint64_t pages = 0;

  std::size_t of(std::size_t eligible) const noexcept {
    return pages > 0 ? std::min<std::size_t>(pages, eligible) : ceil_share(share, eligible);
  }

  /// The same numbers for other backends. `pages` is within 32 bits by its range.
  select_budget rule() const noexcept { return {static_cast<std::uint32_t>(pages), share}; }

  static std::vector<option_spec> options() {
    return {{.name = "heads",
             .type = option_type::text,
             .fallback = std::string{"per_kv_head"},
             .help = "whether all heads read the same pages or each KV head its own",
             .min = {},
             .max = {},
             .choices = {"shared", "per_kv_head"}},
            {.name = "share",
             .type = option_type::real,
             .fallback = 0.125,
             .help = "share of the old pages that a row reads, rounded up",
             .min = 1e-6,
             .max = 1,
             .choices = {}},
            {.name = "pages",
             .type = option_type::integer,
             .fallback = std::int64_t{0},
             .help = "old pages that a row reads, instead of a share; 0: use the share",
             .min = 0,
             .max = 4294967295.0,
             .choices = {}}};
  }

  static page_budget from(const option_set& x) {
    return {x.text("heads") == "shared" ? head_scope::shared : head_scope::per_kv_head,
            x.real("share"), static_cast<std::uint64_t>(x.integer("pages"))};
  }
};

} // namespace pikv::policies
