// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/choice/row_planner.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <pikv/policies/selection/cover.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv {

namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

/// log(exp(a) + exp(b)).
float log_add(float a, float b) noexcept {
  const auto top = std::max(a, b);
  return top == nothing ? nothing : top + std::log1p(std::exp(std::min(a, b) - top));
}

/// What shares of the whole mass leave over.
double remainder(std::span<const float> shares) noexcept {
  return std::max(0.0, 1.0 - std::accumulate(shares.begin(), shares.end(), 0.0));
}

} // namespace

row_planner::row_planner(const plan_input& in, std::uint32_t scopes, std::vector<part_view>& views)
    : in_(in), scopes_(scopes), views_(views), dims_(in.context->dims),
      owners_(in.context->settings.cache.shards) {
  for (std::uint32_t s = 0; s < owners_.size(); ++s)
    owners_[s] = in.context->shards.owner({s}).value;
}

void row_planner::plan(std::size_t part, std::uint32_t token, row_workspace& w) const {
  auto& v = views_[part];
  const auto position = in_.parts[part].position + token;
  const auto old = old_pages(v, in_.geometry, position);
  for (const auto& x : v.pages)
    if (!x.kept())
      w.evicted += visible_tokens(x.page.first_position, x.tokens(), position, 1) * dims_.kv_heads;
  if (in_.policies->needs_total)
    take_rest(part, token, w);
  const auto routed_tokens = route(part, token, old, w);
  const auto per_scope = dims_.kv_heads / scopes_;
  for (std::uint32_t s = 0; s < scopes_; ++s) {
    w.chosen.clear();
    choose(v, token, s, old, w);
    const auto list = std::size_t{token} * scopes_ + s;
    std::ranges::copy(w.chosen, v.lists.begin() + static_cast<std::ptrdiff_t>(list * v.capacity));
    v.counts[list] = static_cast<std::uint32_t>(w.chosen.size());
    std::uint64_t chosen_tokens = 0;
    for (auto i : w.chosen) {
      chosen_tokens += v.pages[i].tokens();
      if (in_.policies->counts_shards)
        w.read[v.pages[i].page.shard] += v.pages[i].tokens() * per_scope;
    }
    w.not_selected += (routed_tokens - chosen_tokens) * per_scope;
  }
}

/// The log mass of what each head of the row reads in any case, over all devices.
void row_planner::take_rest(std::size_t part, std::uint32_t token, row_workspace& w) const {
  w.rest.assign(dims_.query_heads, nothing);
  const auto row = std::size_t{in_.parts[part].row_begin} + token;
  for (const auto& o : in_.owners) {
    if (!o.always)
      continue;
    const auto* lse = reinterpret_cast<const float*>(o.always.data()) + row * dims_.query_heads;
    for (std::uint32_t h = 0; h < dims_.query_heads; ++h)
      w.rest[h] = log_add(w.rest[h], lse[h]);
  }
}

/// Marks `allowed`; returns the tokens of the old pages inside the route.
std::uint64_t row_planner::route(std::size_t part, std::uint32_t token, std::size_t old,
                                 row_workspace& w) const {
  auto& v = views_[part];
  const auto shards = in_.context->settings.cache.shards;
  if (in_.policies->counts_shards) {
    w.read.resize(shards);
    w.gone.resize(shards);
  }
  w.allowed.assign(old, 0);
  if (in_.policies->routing->routes_all())
    w.in_route.assign(shards, 1);
  else
    route_by_policy(part, token, old, w);
  w.routed += std::accumulate(w.in_route.begin(), w.in_route.end(), 0U);
  std::uint64_t tokens = 0;
  for (std::size_t i = 0; i < old; ++i) {
    const auto& x = v.pages[i];
    const bool routed = w.in_route[x.page.shard] != 0;
    w.allowed[i] = x.kept() && routed ? 1 : 0;
    tokens += w.allowed[i] != 0 ? x.tokens() : 0;
    if (in_.policies->counts_shards && routed && !x.kept())
      w.gone[x.page.shard] += 1;
  }
  w.not_routed += (v.tokens_before[old] - tokens) * dims_.kv_heads;
  return tokens;
}

void row_planner::route_by_policy(std::size_t part, std::uint32_t token, std::size_t old,
                                  row_workspace& w) const {
  const auto& v = views_[part];
  const auto& routing = *in_.policies->routing;
  const auto shards = in_.context->settings.cache.shards;
  w.shard_pages.assign(shards, 0);
  w.shard_mass.assign(routing.needs_mass() ? shards : 0, 0.0F);
  if (routing.needs_mass())
    share(v, token, 0, dims_.query_heads, old, score::mass, routing.needs_total(), w);
  for (std::size_t i = 0; i < old; ++i) {
    if (!v.pages[i].kept())
      continue;
    ++w.shard_pages[v.pages[i].page.shard];
    if (routing.needs_mass())
      w.shard_mass[v.pages[i].page.shard] += w.shares[i];
  }
  w.in_route.assign(shards, 0);
  const auto& facts = in_.shards;
  policies::route_query query{in_.gates.of(in_.parts[part].row_begin + token), w.shard_mass,
                              w.shard_pages};
  query.always_mass =
      routing.needs_total() ? static_cast<float>(remainder({w.shares.data(), old})) : 0.0F;
  if (routing.needs_load() && facts.load.size() == shards)
    query.shard_load = facts.load;
  if (routing.needs_misses() && facts.misses.size() == shards)
    query.shard_misses = facts.misses;
  query.shard_owner = owners_;
  query.coverage = facts.coverage;
  routing.route(query, w.in_route);
}

/// The pages that one scope of the row reads, into w.chosen.
void row_planner::choose(part_view& v, std::uint32_t token, std::uint32_t scope, std::size_t old,
                         row_workspace& w) const {
  const auto& selection = *in_.policies->selection;
  if (selection.score() == policies::page_score::none) {
    for (std::uint32_t i = 0; i < old; ++i)
      if (w.allowed[i] != 0)
        w.chosen.push_back(i);
    return;
  }
  const auto heads = dims_.query_heads / scopes_;
  const auto head = scope * heads;
  if (!in_.policies->by_coverage) {
    share(v, token, head, heads, old,
          selection.score() == policies::page_score::quest ? score::bound : score::mass, false, w);
    const auto count = selection.pages_to_read(v.kept_before[old]);
    return policies::select_top(w.shares, w.allowed, count, w.order, w.chosen);
  }
  const bool steered = in_.shards.coverage > 0 && !selection.certified();
  // Without either the configuration has just changed: everything, for once.
  const auto own = selection.coverage() > 0 ? selection.coverage() : 1.0;
  const auto target = steered ? in_.shards.coverage : own;
  const auto kind = selection.certified() ? score::certain : score::mass;
  share(v, token, head, heads, old, kind, true, w);
  if (!selection.certified())
    return policies::select_cover(w.shares, w.allowed, remainder(w.shares), target,
                                  selection.least_pages(v.kept_before[old]), w.order, w.chosen);
  std::size_t stride = 0;
  const auto* bounds = scores(v, token, head, heads, old, kind, stride, w);
  policies::select_certified(bounds, heads, stride, std::span{w.rest}.subspan(head, heads),
                             w.shares, w.allowed, target, w.order, w.chosen);
}

/// Shares of the old pages for query heads `head ... + heads`, into w.shares: of the mass of these
/// pages, or of the row's whole mass.
void row_planner::share(const part_view& v, std::uint32_t token, std::uint32_t head,
                        std::uint32_t heads, std::size_t old, score kind, bool of_total,
                        row_workspace& w) const {
  w.shares.resize(old);
  if (old == 0)
    return;
  std::size_t stride = 0;
  const auto* from = scores(v, token, head, heads, old, kind, stride, w);
  policies::mean_softmax(from, heads, stride, w.shares, of_total ? w.rest.data() + head : nullptr);
}

/// `[heads, old]` with the row stride `stride`: in place where one owner has them all, else
/// gathered.
const float* row_planner::scores(const part_view& v, std::uint32_t token, std::uint32_t head,
                                 std::uint32_t heads, std::size_t old, score kind,
                                 std::size_t& stride, row_workspace& w) const {
  const auto row = std::size_t{token} * dims_.query_heads + head;
  const auto of = [&](const score_block& s) { return kind == score::mass ? s.mass : s.quest; };
  if (old == 0 || (v.single_owner && kind != score::certain)) {
    stride = old == 0 ? 0 : v.scores[v.pages.front().owner].pages;
    return old == 0 ? nullptr : of(v.scores[v.pages.front().owner]) + row * stride;
  }
  stride = old;
  w.gathered.resize(std::size_t{heads} * old);
  for (std::size_t i = 0; i < old; ++i) {
    const auto& x = v.pages[i];
    const auto& s = v.scores[x.owner];
    // A bound of the page's mass, not of one of its logits.
    const auto more =
        kind == score::certain ? std::log(static_cast<float>(std::max(x.tokens(), 1U))) : 0.0F;
    for (std::uint32_t h = 0; h < heads; ++h)
      w.gathered[h * old + i] = x.kept() ? of(s)[(row + h) * s.pages + x.local] + more : nothing;
  }
  return w.gathered.data();
}

} // namespace pikv
