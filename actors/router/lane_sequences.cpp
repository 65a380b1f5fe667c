// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/router/lane_sequences.hpp>

#include <algorithm>

namespace pikv {

sequence_record* lane_sequences::find(sequence_id x) {
  auto it = sequences_.find(x);
  return it == sequences_.end() ? nullptr : &it->second;
}

sequence_record& lane_sequences::open(sequence_id x) {
  auto& s = sequences_[x];
  s.layers.resize(layers_);
  for (auto& layer : s.layers)
    layer.on_device.assign(devices_, 0);
  return s;
}

bool lane_sequences::fork(sequence_id parent, sequence_id child) {
  auto* p = find(parent);
  if (p == nullptr)
    return false;
  auto copy = *p;
  copy.counted = false;
  for (auto& layer : copy.layers) {
    layer.fences = 0;
    layer.attends = 0;
  }
  sequences_[child] = std::move(copy);
  return true;
}

void annotate(gate_record& gate, std::uint32_t position, std::uint32_t tokens,
              std::span<const float> logits, std::uint32_t experts) {
  if (position < gate.first || position > gate.first + gate.top.size()) {
    gate.first = position; // a gap: what came before does not help
    gate.top.clear();
  }
  gate.top.resize(position - gate.first);
  for (std::uint32_t t = 0; t < tokens; ++t) {
    auto row = logits.subspan(std::size_t{t} * experts, experts);
    gate.top.push_back(static_cast<std::uint16_t>(std::ranges::max_element(row) - row.begin()));
  }
  gate.latest_position = position;
  gate.latest.assign(logits.begin(), logits.end());
}

std::span<const std::uint16_t> top_experts(const gate_record& gate, std::uint32_t position,
                                           std::uint32_t tokens) noexcept {
  if (position < gate.first || position - gate.first + tokens > gate.top.size())
    return {};
  return std::span{gate.top}.subspan(position - gate.first, tokens);
}

std::span<const float> gate_logits(const gate_record& gate, std::uint32_t position,
                                   std::uint32_t experts) noexcept {
  if (experts == 0 || position < gate.latest_position)
    return {};
  auto begin = std::size_t{position - gate.latest_position} * experts;
  if (begin + experts > gate.latest.size())
    return {};
  return std::span{gate.latest}.subspan(begin, experts);
}

void forget_before(gate_record& gate, std::uint32_t position) {
  constexpr std::uint32_t slack = 1024; // tokens; erasing in bulk keeps this cheap
  if (position < gate.first + slack || position > gate.first + gate.top.size())
    return;
  gate.top.erase(gate.top.begin(), gate.top.begin() + (position - gate.first));
  gate.first = position;
}

} // namespace pikv
