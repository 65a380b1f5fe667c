// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/choice/plan.hpp>

#include <algorithm>
#include <numeric>

#include <pikv/actors/choice/row_planner.hpp>
#include <pikv/gpu/host/worker_pool.hpp>
#include <pikv/policies/selection/selection_policy.hpp>

namespace pikv {

namespace {

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

void add_counts(const std::vector<row_workspace>& workspaces, plan_output& out) {
  for (const auto& w : workspaces) {
    out.not_routed += w.not_routed;
    out.not_selected += w.not_selected;
    out.evicted += w.evicted;
    out.routed_shards += w.routed;
    for (std::uint32_t s = 0; s < w.read.size(); ++s) {
      if (out.shards.size() <= s)
        out.shards.push_back({s, 0, 0});
      out.shards[s].read += w.read[s];
      out.shards[s].gone += w.gone[s];
    }
  }
  std::erase_if(out.shards, [](const shard_use& x) { return x.read == 0 && x.gone == 0; });
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
    v.capacity =
        selects && !in.policies->by_coverage ? selection.pages_to_read(eligible) : eligible;
    v.lists.resize(std::size_t{part.tokens} * out.scopes * v.capacity);
    v.counts.assign(std::size_t{part.tokens} * out.scopes, 0);
    for (std::uint32_t t = 0; t < part.tokens; ++t)
      rows.emplace_back(p, t);
  }
  std::vector<row_workspace> workspaces(x.threads());
  const row_planner planner{in, out.scopes, views};
  x.run(rows.size(), [&](std::size_t i, std::size_t worker) {
    planner.plan(rows[i].first, rows[i].second, workspaces[worker]);
  });
  add_counts(workspaces, out);
  for (std::uint32_t o = 0; o < in.owners.size(); ++o) {
    auto block = write_selection(in, out.scopes, views, o);
    if (!block) {
      out.failed = block.error();
      return;
    }
    out.selections.push_back(std::move(*block));
  }
  if (in.policies->wants_reads)
    count_uses(in, out.scopes, views, out);
}

} // namespace pikv
