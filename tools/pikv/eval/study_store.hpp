// SPDX-License-Identifier: Apache-2.0
/// \file
/// A store that keeps all K and V in f32, computes every logit, and then attends only to the pages
/// that a study_rule chooses. It saves neither memory nor time: it gives the yardsticks that a real
/// cache cannot have (a perfect choice, a blind one) and tries estimates before they become
/// policies. Pages, window, scores and ties are those of PiKV's own selection.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include <moe_engine/kv_store.hpp>
#include <moe_engine/thread_team.hpp>

#include "eval/study_pass.hpp"

namespace pikv::tools {

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
  result<layer_kv*> find(std::uint32_t layer, sequence_id x);

  study_setup setup_;
  moe_engine::thread_team& team_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<sequence_id, std::vector<layer_kv>> sequences_;
};

} // namespace pikv::tools
