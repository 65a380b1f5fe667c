// SPDX-License-Identifier: Apache-2.0
/// \file
/// From surveys to index lists: routes and selects for every row of one attend. Runs on a stream's
/// thread; the result does not depend on how the pages are spread over devices.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/actors/choice/known_gates.hpp>
#include <pikv/actors/context.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>

namespace pikv {

/// What one owner surveyed.
struct surveyed_owner {
  device_id device{};
  std::vector<std::uint32_t> parts; ///< indices into plan_input::parts, in the owner's order
  survey_done survey;
  gpu::block facts, mass, quest, always; ///< shared for as long as the plan is being made
};

struct plan_input {
  context_ptr context;
  std::shared_ptr<const policy_set> policies;
  page_geometry geometry;
  std::uint32_t rows = 0; ///< of the client's buffers
  std::vector<work_part> parts;
  known_gates gates;
  shard_facts shards;
  std::vector<surveyed_owner> owners;
};

struct plan_output {
  std::uint32_t scopes = 1;
  std::vector<gpu::block> selections; ///< per owner, as attend_work::selection, on its device
  std::uint64_t not_routed = 0;       ///< (row, KV head, entry)
  std::uint64_t not_selected = 0;
  std::uint64_t evicted = 0;
  double routed_shards = 0; ///< sum over rows
  /// Per part: how many rows (times scopes) chose each page, by page index; for the scheduler.
  std::vector<std::vector<page_use>> uses;
  std::vector<shard_use> shards; ///< where policies count them: those with something to count
  error failed;                  ///< over_budget when the lists do not fit the scratch arenas
};

/// Fills `out`. Called on a stream's thread.
void make_plan(const plan_input& in, plan_output& out, gpu::executor& x);

} // namespace pikv
