// SPDX-License-Identifier: Apache-2.0
/// \file
/// A store that keeps all K and V in f32, computes every logit, and then attends only to the pages
/// that a study_rule chooses. It saves neither memory nor time: it gives the yardsticks that a real
/// cache cannot have (a perfect choice, a blind one) and tries estimates before they become
/// policies. Pages, window, scores and ties are those of PiKV's own selection.
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include <moe_engine/kv_store.hpp>
#include <moe_engine/thread_team.hpp>

#include "eval/study_head.hpp"

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

/// Borrows the team. One thread calls it. Errors are those of dense_store.
class study_store final : public moe_engine::kv_store {
public:
  /// Without a rule everything is read.
  study_store(const model_shape& shape, const study_geometry& geometry,
              std::optional<study_rule> rule, moe_engine::thread_team& team,
              study_observer observer = {});

  result<sequence_id> open() override;
  result<void> close(sequence_id x) override;
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override;
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gate_logits) override;
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override;
  result<void> finish() override { return {}; }
  result<std::uint64_t> bytes() override; ///< K and V alone, f32

  /// Gate logits `[tokens, experts]` of a layer, as annotated so far.
  std::span<const float> gates(sequence_id x, std::uint32_t layer) const;

private:
  struct layer_kv {
    std::vector<study_head> heads;
    std::vector<float> gates;
  };
  struct job {
    const batch_part* part = nullptr;
    std::size_t row = 0; ///< of the batch, of the part's first token
    std::uint32_t layer = 0, kv_head = 0;
    const float* q = nullptr; ///< of the whole batch
    float* out = nullptr;
    float* lse = nullptr;
  };
  class head_pass;

  result<layer_kv*> find(std::uint32_t layer, sequence_id x);
  std::uint64_t run(const job& j) const; ///< entries read

  model_shape shape_;
  study_geometry geometry_;
  std::optional<study_rule> rule_;
  moe_engine::thread_team& team_;
  study_observer observer_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<sequence_id, std::vector<layer_kv>> sequences_;
};

} // namespace pikv::tools
