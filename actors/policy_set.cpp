// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/policy_set.hpp>

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

void add_needs(policy_set& x) {
  auto want = [&x](gpu::score_kind kind, gpu::summary_part part) {
    x.scores |= static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
    x.summary_parts |= part;
  };
  if (x.routing->needs_mass() || x.selection->score() == policies::page_score::mass)
    want(gpu::score_kind::mass, gpu::summary_mean_var);
  if (x.selection->score() == policies::page_score::quest)
    want(gpu::score_kind::quest, gpu::summary_min_max);
}

} // namespace

result<std::shared_ptr<const policy_set>>
make_policy_set(const config::settings& settings, const model_shape& shape, std::uint64_t version) {
  auto x = std::make_shared<policy_set>();
  x->version = version;
  x->settings = settings;
  policies::policy_context context{shape.layers, shape.kv_heads, shape.experts,
                                   settings.cache.shards, settings.cache.page_tokens};
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
