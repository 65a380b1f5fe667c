// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/policy_set.hpp>

#include <pikv/actors/shard_owner/page_keys.hpp>
#include <pikv/gpu/kernels.hpp>

namespace pikv {

namespace {

template <class Policy>
result<void> make_into(std::unique_ptr<Policy>& out, const char* kind,
                       std::span<const policies::table_entry<Policy>> table,
                       const policy_choice& choice, const policies::policy_context& context) {
  auto made = policies::make(table, choice, context);
  if (!made)
    return {made.code(), std::string{kind} + ": " + made.error().what};
  out = std::move(*made);
  return {};
}

bool target_asked(const config::settings& x) noexcept {
  return x.fidelity.coverage_target > 0 || x.fidelity.max_output_error > 0;
}

/// True for a selection that a fidelity target moves: by estimated mass, whatever its budget says.
bool steers(const policies::selection_policy& x) noexcept {
  return x.score() == policies::page_score::mass;
}

/// Policies that are fine by themselves and cannot work together.
result<void> check_together(const policy_set& x) {
  if (x.selection->certified() && !x.compression->keeps_raw())
    return {errc::invalid_argument,
            "selection.certified: its bound holds for raw pages only; set compression.policy to "
            "identity, or certified to false"};
  if (target_asked(x.settings) && !steers(*x.selection) && !x.routing->needs_total())
    return {errc::invalid_argument,
            "fidelity: there is nothing to hold the target with; set selection.policy to mass "
            "(without certified) or routing.policy to adaptive"};
  return {};
}

void add_needs(policy_set& x) {
  auto want = [&x](gpu::score_kind kind, gpu::summary_part part) {
    x.scores |= static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
    x.summary_parts |= part;
  };
  if (x.routing->needs_mass() || x.selection->score() == policies::page_score::mass)
    want(gpu::score_kind::mass, gpu::summary_mean_var);
  if (x.selection->score() == policies::page_score::quest)
    want(gpu::score_kind::quest, gpu::summary_min_max);
  x.by_coverage = x.selection->coverage() > 0 || (target_asked(x.settings) && steers(*x.selection));
  x.needs_total = x.routing->needs_total() || x.by_coverage;
  x.counts_shards = x.routing->needs_load() || x.routing->needs_misses()
                    || x.placement->tolerated_imbalance() > 0;
  const auto want_of = [&x](const policies::scheduling_policy& p) {
    x.wants_mass |= p.needs_mass();
    x.wants_reads |= p.needs_reads();
    x.key_facts_wanted |= p.needs_keys();
  };
  want_of(*x.scheduling);
  for (const auto& ghost : x.ghosts)
    want_of(*ghost.policy);
  x.wants_mass |= x.budget->needs_mass();
  x.wants_reads |= !x.ghosts.empty(); // whatever their order needs, they are judged by reads
  x.summary_parts |= summary_parts_of(x.key_facts_wanted);
}

result<void> make_ghosts(policy_set& x, const policies::policy_context& context) {
  for (const auto& name : config::ghost_names(x.settings.ghosts)) {
    auto& ghost = x.ghosts.emplace_back(ghost_policy{name, nullptr});
    // The live policy's options, where it is the same one: then the two can be compared.
    const auto choice =
        name == x.settings.scheduling.name ? x.settings.scheduling : policy_choice{name, {}};
    if (auto r = make_into(ghost.policy, "ghosts", policies::scheduling_table(), choice, context); !r)
      return r;
  }
  return {};
}

} // namespace

result<std::shared_ptr<const policy_set>>
make_policy_set(const config::settings& settings, const model_shape& shape, std::uint64_t version) {
  auto x = std::make_shared<policy_set>();
  x->version = version;
  x->settings = settings;
  policies::policy_context context{shape.layers, shape.kv_heads, shape.experts,
                                   settings.cache.shards, settings.cache.page_tokens,
                                   settings.cache.sinks + settings.cache.window
                                       + settings.cache.page_tokens - 1};
  using namespace policies;
  if (auto r = make_into(x->placement, "placement", placement_table(), settings.placement, context);
      !r)
    return r.error();
  if (auto r = make_into(x->routing, "routing", routing_table(), settings.routing, context); !r)
    return r.error();
  if (auto r = make_into(x->selection, "selection", selection_table(), settings.selection, context);
      !r)
    return r.error();
  if (auto r = make_into(x->compression, "compression", compression_table(), settings.compression,
                         context);
      !r)
    return r.error();
  if (auto r = make_into(x->budget, "budget", budget_table(), settings.budget, context); !r)
    return r.error();
  if (auto r =
          make_into(x->scheduling, "scheduling", scheduling_table(), settings.scheduling, context);
      !r)
    return r.error();
  if (auto r = check_together(*x); !r)
    return r.error();
  if (auto r = make_ghosts(*x, context); !r)
    return r.error();
  add_needs(*x);
  return std::shared_ptr<const policy_set>{std::move(x)};
}

void policy_store::put(std::shared_ptr<const policy_set> x) {
  std::lock_guard guard{mutex_};
  sets_.push_back(std::move(x));
  if (sets_.size() > kept)
    sets_.pop_front();
}

std::shared_ptr<const policy_set> policy_store::current() const {
  std::lock_guard guard{mutex_};
  return sets_.empty() ? nullptr : sets_.back();
}

std::shared_ptr<const policy_set> policy_store::find(std::uint64_t version) const {
  std::lock_guard guard{mutex_};
  for (const auto& x : sets_)
    if (x->version == version)
      return x;
  return sets_.empty() ? nullptr : sets_.back();
}

} // namespace pikv
