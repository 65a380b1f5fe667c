// SPDX-License-Identifier: Apache-2.0
/// \file
/// A store that measures another one: hands every call on and, for sampled rows, compares what was
/// read with all there is, from a copy of the keys that it keeps itself.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include <moe_engine/dense_store.hpp>
#include <moe_engine/kv_store.hpp>
#include <moe_engine/thread_team.hpp>

namespace pikv::moe_engine {

/// Borrows the store and the team. Samples the positions p with p % stride == stride / 2, in all
/// layers and query heads.
class coverage_probe final : public kv_store {
public:
  coverage_probe(kv_store& measured, const model_shape& shape, std::uint32_t stride,
                 thread_team& team);

  /// Mean over the samples of exp(lse of what was read - lse of all entries); 0 without samples.
  double coverage() const noexcept {
    return samples_ == 0 ? 0.0 : sum_ / static_cast<double>(samples_);
  }
  std::uint64_t samples() const noexcept { return samples_; }
  /// The same mean layer by layer; empty without samples.
  std::vector<double> coverage_by_layer() const;
  /// Time spent on measuring, to be taken off what is timed around the store.
  double seconds() const noexcept { return seconds_; }

  result<sequence_id> open() override;
  result<void> close(sequence_id x) override;
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override;
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gate_logits) override {
    return measured_.annotate(layer, parts, gate_logits);
  }
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override;
  result<void> finish() override { return measured_.finish(); }
  result<std::uint64_t> bytes() override { return measured_.bytes(); } ///< without the copy

private:
  void sample(std::span<const batch_part> parts, std::span<const float> q);
  result<void> compare(std::uint32_t layer, std::span<const float> read_lse);

  kv_store& measured_;
  model_shape shape_;
  std::uint32_t stride_;
  dense_store copy_; // of the keys, in f32; values are not needed and stand in as keys again
  std::unordered_map<sequence_id, sequence_id> copies_; // sequence -> its copy
  std::vector<batch_part> rows_;                        // sampled rows, as parts of the copy
  std::vector<std::size_t> row_index_;                  // where they stand in the batch
  std::vector<float> queries_, outputs_, full_lse_, read_lse_;
  double sum_ = 0;
  std::vector<double> layer_sums_; // [layers]; each layer has the same number of samples
  std::uint64_t samples_ = 0;
  double seconds_ = 0;
};

} // namespace pikv::moe_engine
