// SPDX-License-Identifier: Apache-2.0
/// \file
/// Stores that misbehave or look away, for tests.
#pragma once

#include <vector>

#include <moe_engine/kv_store.hpp>

namespace pikv::moe_engine {

/// Hands everything on and counts; from the `fail_at`-th attend on (1: the first) attends end with
/// errc::deadline_exceeded.
class counting_store : public kv_store {
public:
  explicit counting_store(kv_store& inner, std::uint64_t fail_at = 0)
      : inner_(inner), fail_at_(fail_at) {}

  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::uint64_t attends = 0;
  std::uint64_t finishes = 0;
  std::vector<char> calls; ///< 'p' append, 't' attend, 'n' annotate, in order

  result<sequence_id> open() override {
    ++opened;
    return inner_.open();
  }
  result<void> close(sequence_id x) override {
    ++closed;
    return inner_.close(x);
  }
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override {
    calls.push_back('p');
    return inner_.append(layer, parts, k, v);
  }
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gate_logits) override {
    calls.push_back('n');
    return inner_.annotate(layer, parts, gate_logits);
  }
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override {
    calls.push_back('t');
    if (++attends >= fail_at_ && fail_at_ != 0)
      return {errc::deadline_exceeded, "as the test wants"};
    return inner_.attend(layer, parts, q, out, lse);
  }
  result<void> finish() override {
    ++finishes;
    return inner_.finish();
  }
  result<std::uint64_t> bytes() override { return inner_.bytes(); }

private:
  kv_store& inner_;
  std::uint64_t fail_at_;
};

/// Reports half of the mass that was read: lse - log 2.
class half_mass_store final : public counting_store {
public:
  using counting_store::counting_store;
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override {
    auto entries = counting_store::attend(layer, parts, q, out, lse);
    for (auto& x : lse)
      x -= 0.69314718F;
    return entries;
  }
};

} // namespace pikv::moe_engine
