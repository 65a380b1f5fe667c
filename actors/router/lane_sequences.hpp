// SPDX-License-Identifier: Apache-2.0
/// \file
/// The logical state of one lane's sequences: how long each layer is, which of its pages have
/// settled and where, and what their gates said. Plain data of one router; no locks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include <pikv/actors/shard_owner/geometry.hpp>
#include <pikv/messages/protocol.hpp>
#include <pikv/policies/placement/placement_policy.hpp>

namespace pikv {

/// The gate of one layer of one sequence, as annotated.
struct gate_record {
  std::uint32_t first = 0;           ///< position of top[0]
  std::vector<std::uint16_t> top;    ///< top-1 expert by position, for tokens not yet settled
  std::uint32_t latest_position = 0; ///< of the first row of `latest`
  std::vector<float> latest;         ///< logits of the last annotate `[tokens, experts]`
};

struct layer_record {
  std::uint32_t appended = 0;
  std::uint32_t settled = 0;            ///< pages (entry granularity: sealed ones) ordered to settle
  std::uint32_t fences = 0;             ///< settles, appends that must end before the next work
  std::vector<std::uint32_t> on_device; ///< settled pages by device
  std::vector<std::uint32_t> device_of; ///< by page; no_device until it has settled or when lost
  std::vector<std::uint32_t> shard_of;  ///< by page; no_shard where it is not known or stays
  std::uint32_t attends = 0;            ///< under way
  std::vector<std::uint32_t> lost;      ///< pages on devices whose owner died
  gate_record gate;
  /// Entry granularity: window pages whose entries went to open pages of shards, the shards of the
  /// pages sealed so far, by number, and those of the slots of window pages that are still to go.
  std::uint32_t scattered = 0;
  std::vector<std::uint16_t> sealed;
  std::vector<std::vector<std::uint16_t>> assigned;
  policies::placement_memory placed; ///< what the placement has learnt of these pages

  static constexpr std::uint32_t no_device = 0xffffffff;
  static constexpr std::uint32_t no_shard = 0xffffffff;

  /// A page of a shard settled on a device.
  void arrived(std::uint32_t page, device_id device, std::uint32_t shard = no_shard) {
    if (device_of.size() <= page) {
      device_of.resize(page + 1, no_device);
      shard_of.resize(page + 1, no_shard);
    }
    device_of[page] = device.value;
    shard_of[page] = shard;
    ++on_device[device.value];
  }
  /// It has left its device.
  void left(std::uint32_t page) {
    --on_device[device_of[page]];
    device_of[page] = no_device;
  }
  void lose_device(device_id device) {
    if (on_device[device.value] == 0)
      return;
    on_device[device.value] = 0;
    for (std::uint32_t page = 0; page < device_of.size(); ++page)
      if (device_of[page] == device.value) {
        lost.push_back(page);
        device_of[page] = no_device;
      }
  }
};

struct sequence_record {
  std::vector<layer_record> layers;
  bool broken = false;  ///< its window is gone; only close helps
  bool counted = false; ///< the client knows it: it counts as open until it is closed or lost
};

class lane_sequences {
public:
  lane_sequences() = default;
  lane_sequences(std::uint32_t layers, std::uint32_t devices)
      : layers_(layers), devices_(devices) {}

  sequence_record* find(sequence_id x);
  const sequence_record* find(sequence_id x) const {
    return const_cast<lane_sequences*>(this)->find(x);
  }
  sequence_record& open(sequence_id x);
  bool fork(sequence_id parent, sequence_id child);
  bool close(sequence_id x) { return sequences_.erase(x) != 0; }
  bool contains(sequence_id x) const { return sequences_.contains(x); }

  /// The owner of `device` died: its pages are lost, and sequences whose window it held are broken.
  /// `home_of` tells where windows live.
  template <class HomeOf>
  void lose_device(device_id device, HomeOf&& home_of) {
    for (auto& [id, s] : sequences_) {
      s.broken = s.broken || home_of(id) == device;
      for (auto& layer : s.layers)
        layer.lose_device(device);
    }
  }

  template <class F>
  void for_each(F&& f) {
    for (auto& [id, s] : sequences_)
      f(id, s);
  }

  std::size_t counted() const noexcept {
    return static_cast<std::size_t>(
        std::ranges::count_if(sequences_, [](const auto& x) { return x.second.counted; }));
  }

private:
  std::uint32_t layers_ = 0;
  std::uint32_t devices_ = 0;
  std::unordered_map<sequence_id, sequence_record> sequences_;
};

/// Remembers an annotate of `tokens` rows of logits `[tokens, experts]` from `position` on.
void annotate(gate_record& gate, std::uint32_t position, std::uint32_t tokens,
              std::span<const float> logits, std::uint32_t experts);

/// Top-1 experts of `tokens` tokens from `position` on; empty unless all are known.
std::span<const std::uint16_t> top_experts(const gate_record& gate, std::uint32_t position,
                                           std::uint32_t tokens) noexcept;

/// Logits of one position from the last annotate; empty when unknown.
std::span<const float> gate_logits(const gate_record& gate, std::uint32_t position,
                                   std::uint32_t experts) noexcept;

/// Forgets top-1 experts before `position`.
void forget_before(gate_record& gate, std::uint32_t position);

} // namespace pikv
