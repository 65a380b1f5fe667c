// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/choice/plan.hpp>

#include <algorithm>
#include <numeric>

#include <pikv/actors/choice/located_pages.hpp>
#include <pikv/gpu/host/worker_pool.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv {

namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

struct part_view : located_pages {
  std::size_t capacity = 0;          ///< most pages that one list of this part can hold
  std::vector<std::uint32_t> lists;  ///< `[tokens, scopes, capacity]` of indices into `pages`
  std::vector<std::uint32_t> counts; ///< `[tokens, scopes]`
};

/// Reused between the rows that one worker plans.
struct workspace {
  std::vector<float> gathered, shares, shard_mass;
  std::vector<std::uint8_t> allowed, in_route;
  std::vector<std::uint32_t> shard_pages, order, chosen;
  std::uint64_t not_routed = 0, not_selected = 0, evicted = 0;
  double routed = 0;
};

class planner {
public:
  planner(const plan_input& in, std::uint32_t scopes, std::vector<part_view>& views)
      : in_(in), scopes_(scopes), views_(views), dims_(in.context->dims) {}

  void plan_row(std::size_t part, std::uint32_t token, workspace& w) const {
    auto& v = views_[part];
    const auto position = in_.parts[part].position + token;
    const auto old = old_pages(v, in_.geometry, position);
    for (const auto& x : v.pages)
      if (!x.kept())
        w.evicted +=
            visible_tokens(x.page.first_position, x.tokens(), position, 1) * dims_.kv_heads;
    auto routed_tokens = route(part, token, old, w);
    const auto eligible = v.kept_before[old];
    const auto& selection = *in_.policies->selection;
    const bool selects = selection.score() != policies::page_score::none;
    const auto count = selects ? selection.pages_to_read(eligible) : eligible;
    const auto per_scope = dims_.query_heads / scopes_;
    for (std::uint32_t s = 0; s < scopes_; ++s) {
      w.chosen.clear();
      if (selects) {
        share(v, token, s * per_scope, per_scope, old,
              selection.score() == policies::page_score::quest, w);
        policies::select_top(w.shares, w.allowed, count, w.order, w.chosen);
      } else {
        for (std::uint32_t i = 0; i < old; ++i)
          if (w.allowed[i] != 0)
            w.chosen.push_back(i);
      }
      store(v, token, s, w.chosen);
      std::uint64_t chosen_tokens = 0;
      for (auto i : w.chosen)
        chosen_tokens += v.pages[i].tokens();
      w.not_selected += (routed_tokens - chosen_tokens) * (dims_.kv_heads / scopes_);
    }
  }

private:
  /// Marks `allowed`; returns the tokens of the old pages inside the route.
  std::uint64_t route(std::size_t part, std::uint32_t token, std::size_t old, workspace& w) const {
    auto& v = views_[part];
    const auto& routing = *in_.policies->routing;
    const auto shards = in_.context->settings.cache.shards;
    w.allowed.assign(old, 0);
    if (routing.routes_all()) {
      for (std::size_t i = 0; i < old; ++i)
        w.allowed[i] = v.pages[i].kept() ? 1 : 0;
      w.routed += shards;
      return v.tokens_before[old];
    }
    w.shard_pages.assign(shards, 0);
    w.shard_mass.assign(routing.needs_mass() ? shards : 0, 0.0F);
    if (routing.needs_mass())
      share(v, token, 0, dims_.query_heads, old, false, w);
    for (std::size_t i = 0; i < old; ++i) {
      if (!v.pages[i].kept())
        continue;
      ++w.shard_pages[v.pages[i].page.shard];
      if (routing.needs_mass())
        w.shard_mass[v.pages[i].page.shard] += w.shares[i];
    }
    w.in_route.assign(shards, 0);
    routing.route({gate(part, token), w.shard_mass, w.shard_pages}, w.in_route);
    w.routed += std::accumulate(w.in_route.begin(), w.in_route.end(), 0U);
    std::uint64_t tokens = 0;
    for (std::size_t i = 0; i < old; ++i) {
      const auto& x = v.pages[i];
      w.allowed[i] = x.kept() && w.in_route[x.page.shard] != 0 ? 1 : 0;
      tokens += w.allowed[i] != 0 ? x.tokens() : 0;
    }
    w.not_routed += (v.tokens_before[old] - tokens) * dims_.kv_heads;
    return tokens;
  }

  std::span<const float> gate(std::size_t part, std::uint32_t token) const {
    return in_.gates.of(in_.parts[part].row_begin + token);
  }

  /// Shares of the old pages for query heads `head ... + heads`, into w.shares.
  void share(const part_view& v, std::uint32_t token, std::uint32_t head, std::uint32_t heads,
             std::size_t old, bool quest, workspace& w) const {
    w.shares.resize(old);
    if (old == 0)
      return;
    if (v.single_owner) {
      const auto& s = v.scores[v.pages.front().owner];
      const auto* base =
          (quest ? s.quest : s.mass) + (std::size_t{token} * dims_.query_heads + head) * s.pages;
      policies::mean_softmax(base, heads, s.pages, w.shares);
      return;
    }
    w.gathered.resize(std::size_t{heads} * old);
    for (std::uint32_t h = 0; h < heads; ++h)
      for (std::size_t i = 0; i < old; ++i) {
        const auto& x = v.pages[i];
        const auto& s = v.scores[x.owner];
        const auto* row = (quest ? s.quest : s.mass)
                          + (std::size_t{token} * dims_.query_heads + head + h) * s.pages;
        w.gathered[h * old + i] = x.kept() ? row[x.local] : nothing;
      }
    policies::mean_softmax(w.gathered.data(), heads, old, w.shares);
  }

  void store(part_view& v, std::uint32_t token, std::uint32_t scope,
             const std::vector<std::uint32_t>& chosen) const {
    auto list = std::size_t{token} * scopes_ + scope;
    std::ranges::copy(chosen, v.lists.begin() + static_cast<std::ptrdiff_t>(list * v.capacity));
    v.counts[list] = static_cast<std::uint32_t>(chosen.size());
  }

  const plan_input& in_;
  std::uint32_t scopes_;
  std::vector<part_view>& views_;
  const gpu::cache_dims& dims_;
};

/// Writes one owner's lists in the form of attend_work::selection.
result<gpu::block> write_selection(const plan_input& in, std::uint32_t scopes,
                                   const std::vector<part_view>& views, std::uint32_t owner) {
  const std::size_t lists = std::size_t{in.rows} * scopes;
  std::vector<std::uint32_t> always(in.rows, 0), offsets(lists + 1, 0), pages;
  std::vector<std::uint32_t> sizes(lists, 0);
  // Rows of one part are consecutive, parts ascend by row: one pass writes the lists in order.
  auto parts = in.owners[owner].parts;
  std::ranges::sort(parts, {}, [&](std::uint32_t p) { return in.parts[p].row_begin; });
  for (auto part : parts) {
    const auto& v = views[part];
    for (std::uint32_t t = 0; t < in.parts[part].tokens; ++t) {
      const auto row = in.parts[part].row_begin + t;
      const auto old = old_pages(v, in.geometry, in.parts[part].position + t);
      always[row] = static_cast<std::uint32_t>(
          std::count_if(v.pages.begin(), v.pages.begin() + static_cast<std::ptrdiff_t>(old),
                        [&](const located_page& x) { return x.owner == owner; }));
      for (std::uint32_t s = 0; s < scopes; ++s) {
        const auto list = std::size_t{t} * scopes + s;
        const auto before = pages.size();
        for (std::uint32_t i = 0; i < v.counts[list]; ++i)
          if (const auto& x = v.pages[v.lists[list * v.capacity + i]]; x.owner == owner)
            pages.push_back(x.local);
        sizes[std::size_t{row} * scopes + s] = static_cast<std::uint32_t>(pages.size() - before);
      }
    }
  }
  std::partial_sum(sizes.begin(), sizes.end(), offsets.begin() + 1);
  auto bytes = (always.size() + offsets.size() + pages.size()) * sizeof(std::uint32_t);
  auto block = in.context->devices[in.owners[owner].device.value].device->scratch().allocate(bytes);
  if (!block)
    return block;
  auto* out = reinterpret_cast<std::uint32_t*>(block->data());
  out = std::ranges::copy(always, out).out;
  out = std::ranges::copy(offsets, out).out;
  std::ranges::copy(pages, out);
  return block;
}

void count_uses(const plan_input& in, std::uint32_t scopes, const std::vector<part_view>& views,
                plan_output& out) {
  out.uses.resize(in.parts.size());
  for (std::size_t part = 0; part < views.size(); ++part) {
    const auto& v = views[part];
    std::vector<std::uint32_t> reads(v.pages.size());
    for (std::size_t list = 0; list < std::size_t{in.parts[part].tokens} * scopes; ++list)
      for (std::uint32_t i = 0; i < v.counts[list]; ++i)
        ++reads[v.lists[list * v.capacity + i]];
    for (std::size_t i = 0; i < reads.size(); ++i)
      if (reads[i] > 0)
        out.uses[part].push_back({v.pages[i].page.page, reads[i], 0.0F});
  }
}

} // namespace

void make_plan(const plan_input& in, plan_output& out, gpu::executor& x) {
  const auto& selection = *in.policies->selection;
  const bool selects = selection.score() != policies::page_score::none;
  out.scopes = selects && selection.scope() == policies::head_scope::per_kv_head
                   ? in.context->dims.kv_heads
                   : 1;
  std::vector<part_view> views;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> rows; // (part, token)
  for (std::uint32_t p = 0; p < in.parts.size(); ++p) {
    auto& v = views.emplace_back(part_view{locate_pages(in, p), 0, {}, {}});
    const auto& part = in.parts[p];
    auto eligible = v.kept_before[old_pages(v, in.geometry, part.position + part.tokens - 1)];
    v.capacity = selects ? selection.pages_to_read(eligible) : eligible;
    v.lists.resize(std::size_t{part.tokens} * out.scopes * v.capacity);
    v.counts.assign(std::size_t{part.tokens} * out.scopes, 0);
    for (std::uint32_t t = 0; t < part.tokens; ++t)
      rows.emplace_back(p, t);
  }
  std::vector<workspace> workspaces(x.threads());
  planner plan{in, out.scopes, views};
  x.run(rows.size(), [&](std::size_t i, std::size_t worker) {
    plan.plan_row(rows[i].first, rows[i].second, workspaces[worker]);
  });
  for (const auto& w : workspaces) {
    out.not_routed += w.not_routed;
    out.not_selected += w.not_selected;
    out.evicted += w.evicted;
    out.routed_shards += w.routed;
  }
  for (std::uint32_t o = 0; o < in.owners.size(); ++o) {
    auto block = write_selection(in, out.scopes, views, o);
    if (!block) {
      out.failed = block.error();
      return;
    }
    out.selections.push_back(std::move(*block));
  }
  if (in.policies->scheduling->needs_reads())
    count_uses(in, out.scopes, views, out);
}

} // namespace pikv
