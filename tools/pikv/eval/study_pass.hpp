// SPDX-License-Identifier: Apache-2.0
/// \file
/// The study store's attention of some rows over one KV head: every logit is computed, then pages
/// are left out as a rule says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <pikv/actors/cache.hpp>
#include <pikv/messages/types.hpp>

#include "eval/study_head.hpp"
#include "eval/study_rule.hpp"

namespace pikv::tools {

/// One query row of one KV head, before anything is left out.
struct study_row {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  std::uint32_t kv_head = 0;
  std::uint32_t position = 0;
  std::uint32_t old_pages = 0;
  const study_head* head = nullptr;
  const float* q = nullptr;       ///< `[group, head_dim]`, scaled by 1 / sqrt(head_dim)
  const float* weights = nullptr; ///< softmax over all entries, `[group, weight_stride]`
  std::size_t weight_stride = 0;
  std::size_t group = 0;
};

/// Sees rows of chosen positions, on the team's threads, several at a time.
struct study_observer {
  std::function<bool(std::uint32_t position)> wanted;
  std::function<void(const study_row&)> row; ///< empty: nothing is watched
};

struct study_setup {
  model_shape shape;
  study_geometry geometry;
  std::optional<study_rule> rule; ///< none: everything is read
  study_observer observer;
};

/// Buffers are those of the whole batch: q and out `[rows, query_heads, head_dim]`.
struct study_job {
  const batch_part* part = nullptr;
  std::size_t row = 0; ///< of the batch, of the part's first token
  std::uint32_t layer = 0, kv_head = 0;
  const float* q = nullptr;
  float* out = nullptr;
  float* lse = nullptr; ///< null, or `[rows, query_heads]`
};

/// Writes the part of `out` (and `lse`) that belongs to the KV head's query heads; how many entries
/// its rows read. On the calling thread.
std::uint64_t attend_head(const study_setup& setup, const study_job& job, const study_head& head);

} // namespace pikv::tools
