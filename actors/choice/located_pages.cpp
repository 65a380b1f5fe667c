// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/choice/located_pages.hpp>

#include <algorithm>

namespace pikv {

located_pages locate_pages(const plan_input& in, std::size_t part) {
  located_pages v;
  v.scores.resize(in.owners.size());
  const auto heads = in.context->dims.query_heads;
  std::size_t with_pages = 0;
  for (std::uint32_t o = 0; o < in.owners.size(); ++o) {
    const auto& owner = in.owners[o];
    std::size_t page = 0, score = 0;
    for (std::size_t i = 0; i < owner.parts.size(); ++i) {
      const auto pages = owner.survey.pages[i];
      if (owner.parts[i] == part && pages > 0) {
        ++with_pages;
        const auto* facts = reinterpret_cast<const surveyed_page*>(owner.facts.data()) + page;
        for (std::uint32_t p = 0; p < pages; ++p)
          v.pages.push_back({facts[p], o, p});
        auto at = [score](const gpu::block& b) {
          return b ? reinterpret_cast<const float*>(b.data()) + score : nullptr;
        };
        v.scores[o] = {at(owner.mass), at(owner.quest), pages};
      }
      page += pages;
      score += std::size_t{in.parts[owner.parts[i]].tokens} * heads * pages;
    }
  }
  v.single_owner = with_pages <= 1;
  std::ranges::sort(v.pages, {}, [](const located_page& x) { return x.page.first_position; });
  v.kept_before.assign(v.pages.size() + 1, 0);
  v.tokens_before.assign(v.pages.size() + 1, 0);
  for (std::size_t i = 0; i < v.pages.size(); ++i) {
    const auto tokens = v.pages[i].kept() ? v.pages[i].tokens() : 0U;
    v.kept_before[i + 1] = v.kept_before[i] + (tokens > 0 ? 1U : 0U);
    v.tokens_before[i + 1] = v.tokens_before[i] + tokens;
  }
  return v;
}

std::size_t old_pages(const located_pages& v, const page_geometry& g, std::uint32_t position) {
  auto it = std::ranges::partition_point(v.pages, [&](const located_page& x) {
    return g.is_old(x.page.first_position, x.tokens(), position);
  });
  return static_cast<std::size_t>(it - v.pages.begin());
}

} // namespace pikv
