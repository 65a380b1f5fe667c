// SPDX-License-Identifier: Apache-2.0
#include "eval/study_store.hpp"

#include <atomic>
#include <utility>

#include <fmt/format.h>

namespace pikv::tools {

study_store::study_store(const model_shape& shape, const study_geometry& geometry,
                         std::optional<study_rule> rule, moe_engine::thread_team& team,
                         study_observer observer)
    : setup_{shape, geometry, std::move(rule), std::move(observer)}, team_(team) {}

result<sequence_id> study_store::open() {
  const sequence_id id{++last_id_};
  auto& layers = sequences_[id];
  layers.resize(setup_.shape.layers);
  for (auto& layer : layers)
    for (std::uint32_t h = 0; h < setup_.shape.kv_heads; ++h)
      layer.heads.emplace_back(setup_.shape.head_dim, setup_.geometry);
  return id;
}

result<void> study_store::close(sequence_id x) {
  if (sequences_.erase(x) == 0)
    return {errc::unknown_sequence, fmt::format("sequence {} is not open", x.value)};
  return {};
}

result<study_store::layer_kv*> study_store::find(std::uint32_t layer, sequence_id x) {
  if (layer >= setup_.shape.layers)
    return {errc::out_of_range, fmt::format("layer {} of {}", layer, setup_.shape.layers)};
  const auto found = sequences_.find(x);
  if (found == sequences_.end())
    return {errc::unknown_sequence, fmt::format("sequence {} is not open", x.value)};
  return &found->second[layer];
}

result<void> study_store::append(std::uint32_t layer, std::span<const batch_part> parts,
                                 std::span<const float> k, std::span<const float> v) {
  const std::size_t dim = setup_.shape.head_dim, heads = setup_.shape.kv_heads;
  if (k.size() != moe_engine::rows_of(parts) * heads * dim || v.size() != k.size())
    return {errc::shape_mismatch, "K or V does not have the size that its rows need"};
  std::size_t row = 0;
  for (const auto& part : parts) {
    const auto to = find(layer, part.sequence);
    if (!to)
      return to.error();
    if ((*to)->heads[0].tokens() != part.position)
      return {errc::position_gap,
              fmt::format("sequence {} has {} tokens in layer {}, not {}", part.sequence.value,
                          (*to)->heads[0].tokens(), layer, part.position)};
    team_.run(heads, [&](std::size_t h) {
      for (std::size_t i = 0; i < part.tokens; ++i) {
        const auto at = ((row + i) * heads + h) * dim;
        (*to)->heads[h].append(k.subspan(at, dim), v.subspan(at, dim));
      }
    });
    row += part.tokens;
  }
  return {};
}

result<void> study_store::annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                   std::span<const float> gate_logits) {
  if (gate_logits.size() != std::size_t{moe_engine::rows_of(parts)} * setup_.shape.experts)
    return {errc::shape_mismatch, "the gate's logits do not have the size that their rows need"};
  auto from = gate_logits.begin();
  for (const auto& part : parts) {
    const auto to = find(layer, part.sequence);
    if (!to)
      return to.error();
    const auto end =
        from + static_cast<std::ptrdiff_t>(std::size_t{part.tokens} * setup_.shape.experts);
    if (setup_.observer.row) // nobody else asks for them
      (*to)->gates.insert((*to)->gates.end(), from, end);
    from = end;
  }
  return {};
}

result<entry_account> study_store::attend(std::uint32_t layer, std::span<const batch_part> parts,
                                          std::span<const float> q, std::span<float> out,
                                          std::span<float> lse) {
  const std::size_t heads = std::size_t{moe_engine::rows_of(parts)} * setup_.shape.query_heads;
  if (q.size() != heads * setup_.shape.head_dim || out.size() != q.size()
      || (!lse.empty() && lse.size() != heads))
    return {errc::shape_mismatch, "Q, the output or the lse does not have the size of its rows"};
  std::vector<study_job> jobs;
  entry_account entries;
  std::size_t row = 0;
  for (const auto& part : parts) {
    const auto from = find(layer, part.sequence);
    if (!from)
      return from.error();
    if (part.position + part.tokens > (*from)->heads[0].tokens())
      return {errc::position_gap, "queries need their own tokens appended first"};
    const std::uint64_t n = part.tokens;
    entries.existing += setup_.shape.kv_heads * (n * part.position + n * (n + 1) / 2);
    for (std::uint32_t h = 0; h < setup_.shape.kv_heads; ++h)
      jobs.push_back(
          {&part, row, layer, h, q.data(), out.data(), lse.empty() ? nullptr : lse.data()});
    row += part.tokens;
  }
  std::atomic<std::uint64_t> read{0};
  team_.run(jobs.size(), [&](std::size_t i) {
    const auto& j = jobs[i];
    read += attend_head(setup_, j, sequences_.at(j.part->sequence)[layer].heads[j.kv_head]);
  });
  entries.read = read;
  entries.not_selected = entries.existing - entries.read;
  return entries;
}

result<std::uint64_t> study_store::bytes() {
  std::uint64_t tokens = 0;
  for (const auto& [id, layers] : sequences_)
    for (const auto& layer : layers)
      tokens += layer.heads[0].tokens();
  return tokens * setup_.shape.kv_heads * setup_.shape.head_dim * 2 * sizeof(float);
}

std::span<const float> study_store::gates(sequence_id x, std::uint32_t layer) const {
  const auto found = sequences_.find(x);
  return found == sequences_.end() ? std::span<const float>{} : found->second[layer].gates;
}

} // namespace pikv::tools
