// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/choosing.hpp>

#include <algorithm>

#include <pikv/actors/shard_owner/facts.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv {

namespace {

gpu::score_kind score_of(const policies::selection_policy& x) noexcept {
  switch (x.score()) {
  case policies::page_score::mass: return gpu::score_kind::mass;
  case policies::page_score::quest: return gpu::score_kind::quest;
  case policies::page_score::none: break;
  }
  return gpu::score_kind::none;
}

} // namespace

bool can_choose(const gpu::kernel_table& kernels, const gpu::cache_dims& dims,
                const policy_set& policies) noexcept {
  return kernels.choose == nullptr
         || (!policies.by_coverage && policies.routing->rule().has_value()
             && policies.selection->budget().has_value()
             && policies.settings.cache.shards <= gpu::choose_most_shards
             && dims.query_heads <= gpu::choose_most_query_heads);
}

gpu::page_selection parse_selection(std::uint32_t rows, std::uint32_t scopes, const gpu::block& b) {
  const auto* p = reinterpret_cast<const std::uint32_t*>(b.data());
  const std::size_t lists = std::size_t{rows} * scopes;
  gpu::page_selection s;
  s.scopes = scopes;
  s.always_from = {p, rows};
  s.offsets = {p + rows, lists + 1};
  s.pages = {p + rows + lists + 1, s.offsets.back()};
  return s;
}

choosing::choosing(context_ptr context, device_id device,
                   std::shared_ptr<const policy_set> policies, const page_geometry& geometry,
                   const attend_work& work)
    : kernels_(context->devices[device.value].device->kernels()),
      scratch_(context->devices[device.value].device->scratch()), gather_(work.gather) {
  in_.context = std::move(context);
  in_.policies = std::move(policies);
  in_.geometry = geometry;
  in_.rows = work.rows;
  in_.parts = work.parts;
  in_.shards = work.shards;
  in_.gates = {{}, work.rows, in_.context->shape.experts};
  auto& owner = in_.owners.emplace_back();
  owner.device = device;
  for (std::uint32_t i = 0; i < work.parts.size(); ++i)
    owner.parts.push_back(i);
  if (in_.policies->selection->scope() == policies::head_scope::per_kv_head)
    scopes_ = in_.context->dims.kv_heads;
}

result<void> choosing::prepare(const std::vector<table_lease>& settled,
                               std::span<const gpu::sequence_rows> rows, const buffer_ref& gates) {
  if (gates.bytes > 0) {
    auto block = in_.context->share(gates);
    if (!block)
      return block.error();
    in_.gates.block = std::move(*block);
  }
  if (!on_device())
    return prepare_host(settled, rows);
  std::size_t pages = 0, own = 0; // of any sequence: to choose from, and on this device
  for (std::size_t i = 0; i < settled.size(); ++i) {
    own = std::max(own, settled[i].views().size());
    pages = std::max<std::size_t>(pages, gather_ ? gather_.places[i].pages : own);
  }
  const auto& selection = *in_.policies->selection;
  capacity_ = static_cast<std::uint32_t>(
      selection.score() == policies::page_score::none
          ? own
          : std::min<std::size_t>(own, selection.pages_to_read(pages)));
  if (gather_)
    if (auto r = prepare_gathered(); !r)
      return r;
  const auto lists = std::size_t{in_.rows} * scopes_;
  auto totals = scratch_.allocate(lists * sizeof(choice_total));
  if (!totals)
    return totals.error();
  totals_ = std::move(*totals);
  if (!(in_.policies->wants_reads || in_.policies->counts_shards) || capacity_ == 0)
    return {};
  auto block = scratch_.allocate(lists * capacity_ * sizeof(std::uint32_t));
  if (!block)
    return block.error();
  lists_ = std::move(*block);
  return {};
}

result<void> choosing::prepare_gathered() {
  auto area = in_.context->share(gather_.areas[gather_.own_area]);
  if (!area)
    return area.error();
  area_ = std::move(*area);
  return {};
}

result<void> choosing::prepare_host(const std::vector<table_lease>& settled,
                                    std::span<const gpu::sequence_rows> rows) {
  auto& owner = in_.owners.front();
  std::vector<const page_table*> tables;
  std::uint64_t floats = 0;
  for (std::size_t i = 0; i < settled.size(); ++i) {
    tables.push_back(settled[i].get());
    const auto pages = settled[i].views().size();
    owner.survey.pages.push_back(static_cast<std::uint32_t>(pages));
    offsets_.push_back(floats);
    floats += std::uint64_t{in_.parts[i].tokens} * in_.context->dims.query_heads * pages;
  }
  auto facts = write_facts(scratch_, tables);
  if (!facts)
    return facts.error();
  owner.facts = std::move(*facts);
  for (auto [kind, block] : {std::pair{gpu::score_kind::mass, &owner.mass},
                             std::pair{gpu::score_kind::quest, &owner.quest}}) {
    if ((in_.policies->scores & (1U << static_cast<unsigned>(kind))) == 0 || floats == 0)
      continue;
    auto scores = scratch_.allocate(floats * sizeof(float));
    if (!scores)
      return scores.error();
    *block = std::move(*scores);
  }
  if (!in_.policies->needs_total)
    return {};
  auto taken = always_.prepare(scratch_, in_.context->dims, in_.rows, rows, in_.geometry);
  owner.always = always_.lse();
  return taken;
}

result<void> choosing::run(const request_buffers& buffers, std::span<const gpu::sequence_rows> rows,
                           const std::vector<table_lease>& settled, gpu::page_selection& selection,
                           gpu::executor& x) {
  if (!on_device())
    return choose_on_host(buffers, rows, selection, x);
  choose_on_device(buffers, rows, selection, x);
  for (std::size_t s = 0; s < rows.size(); ++s)
    for (std::uint32_t i = 0; i < rows[s].row_count; ++i)
      rows_.push_back(count_row(rows[s], settled[s].get()->tokens(), i, in_.geometry));
  return {};
}

result<void> choosing::choose_on_host(const request_buffers& buffers,
                                      std::span<const gpu::sequence_rows> rows,
                                      gpu::page_selection& selection, gpu::executor& x) {
  const auto& owner = in_.owners.front();
  for (auto [kind, block] : {std::pair{gpu::score_kind::mass, &owner.mass},
                             std::pair{gpu::score_kind::quest, &owner.quest}})
    if (*block)
      kernels_.score({in_.context->dims, kind, in_.context->scale, buffers.q, rows,
                      reinterpret_cast<float*>(block->data()), offsets_},
                     x);
  if (owner.always)
    always_.run(kernels_, in_.context->dims, in_.context->scale, buffers.q, rows, x);
  make_plan(in_, plan_, x);
  if (plan_.failed.code != errc::ok)
    return plan_.failed;
  selection = parse_selection(in_.rows, plan_.scopes, plan_.selections.front());
  return {};
}

void choosing::choose_on_device(const request_buffers& buffers,
                                std::span<const gpu::sequence_rows> rows,
                                gpu::page_selection& selection, gpu::executor& x) {
  const auto& p = *in_.policies;
  gpu::choose_args args;
  args.dims = in_.context->dims;
  args.scale = in_.context->scale;
  args.q = buffers.q;
  args.sequences = rows;
  args.rows = in_.rows;
  args.window = in_.geometry.window;
  args.shards = p.settings.cache.shards;
  args.experts = in_.gates.experts;
  args.route = *p.routing->rule();
  args.gate_logits = in_.gates.block ? in_.gates.logits() : nullptr;
  args.gate_known = in_.gates.known();
  args.score = score_of(*p.selection);
  args.budget = *p.selection->budget();
  args.scopes = scopes_;
  args.capacity = capacity_;
  args.gathered = {p.scores, gather_.places, area_ ? area_.data() : nullptr};
  args.totals = reinterpret_cast<choice_total*>(totals_.data());
  args.lists = lists_ ? reinterpret_cast<std::uint32_t*>(lists_.data()) : nullptr;
  kernels_.choose(args, selection, x);
}

} // namespace pikv
