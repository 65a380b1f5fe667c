// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/dense_store.hpp>

#include <fmt/format.h>

namespace pikv::moe_engine {

namespace {

/// Calls f(part, first row, KV head) for all pairs of a part and a KV head, spread over the team.
template <class F>
void for_part_heads(thread_team& team, std::span<const batch_part> parts, std::size_t heads,
                    F&& f) {
  std::vector<std::size_t> first_row;
  std::size_t rows = 0;
  for (const auto& x : parts) {
    first_row.push_back(rows);
    rows += x.tokens;
  }
  team.run(parts.size() * heads,
           [&](std::size_t i) { f(parts[i / heads], first_row[i / heads], i % heads); });
}

error wrong_size(std::string_view what) {
  return {errc::shape_mismatch, fmt::format("{} does not have the size that its rows need", what)};
}

} // namespace

dense_store::dense_store(const model_shape& shape, dtype stored, thread_team& team)
    : shape_(shape), stored_(stored), team_(team) {}

result<sequence_id> dense_store::open() {
  const sequence_id id{++last_id_};
  auto& layers = sequences_[id];
  for (std::uint32_t i = 0; i < shape_.layers; ++i) {
    layers.emplace_back();
    layers.back().heads.resize(shape_.kv_heads);
  }
  return id;
}

result<void> dense_store::close(sequence_id x) {
  if (sequences_.erase(x) == 0)
    return {errc::unknown_sequence, fmt::format("sequence {} is not open", x.value)};
  return {};
}

result<void> dense_store::check(std::uint32_t layer, std::span<const batch_part> parts) const {
  if (layer >= shape_.layers)
    return {errc::out_of_range, fmt::format("layer {} of {}", layer, shape_.layers)};
  for (const auto& x : parts)
    if (!sequences_.contains(x.sequence))
      return {errc::unknown_sequence, fmt::format("sequence {} is not open", x.sequence.value)};
  return {};
}

result<void> dense_store::append(std::uint32_t layer, std::span<const batch_part> parts,
                                 std::span<const float> k, std::span<const float> v) {
  if (auto checked = check(layer, parts); !checked)
    return checked;
  if (k.size() != std::size_t{rows_of(parts)} * shape_.kv_heads * shape_.head_dim
      || v.size() != k.size())
    return wrong_size("K or V");
  for (const auto& x : parts)
    if (const auto has = sequences_.at(x.sequence)[layer].tokens; has != x.position)
      return {errc::position_gap, fmt::format("sequence {} has {} tokens in layer {}; position {} "
                                              "does not continue it",
                                              x.sequence.value, has, layer, x.position)};
  for_part_heads(team_, parts, shape_.kv_heads,
                 [&](const batch_part& part, std::size_t row, std::size_t kv_head) {
                   put(sequences_.at(part.sequence)[layer], part, row, kv_head, k, v);
                 });
  for (const auto& x : parts)
    sequences_.at(x.sequence)[layer].tokens += x.tokens;
  return {};
}

void dense_store::put(layer_kv& to, const batch_part& part, std::size_t row, std::size_t kv_head,
                      std::span<const float> k, std::span<const float> v) const {
  auto& blocks = to.heads[kv_head].blocks;
  const std::size_t dim = shape_.head_dim;
  for (std::size_t i = 0; i < part.tokens; ++i) {
    const auto slot = (part.position + i) % kv_block::tokens;
    if (slot == 0)
      blocks.emplace_back(stored_, dim);
    const auto at = ((row + i) * shape_.kv_heads + kv_head) * dim;
    blocks.back().put(slot, k.subspan(at, dim), v.subspan(at, dim));
  }
}

result<void> dense_store::annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                   std::span<const float> gate_logits) {
  if (gate_logits.size() != std::size_t{rows_of(parts)} * shape_.experts)
    return wrong_size("the gate's logits");
  return check(layer, parts);
}

result<entry_account> dense_store::attend(std::uint32_t layer, std::span<const batch_part> parts,
                                          std::span<const float> q, std::span<float> out,
                                          std::span<float> lse) {
  if (auto checked = check(layer, parts); !checked)
    return checked.error();
  const std::size_t heads = std::size_t{rows_of(parts)} * shape_.query_heads;
  if (q.size() != heads * shape_.head_dim || out.size() != q.size()
      || (!lse.empty() && lse.size() != heads))
    return wrong_size("Q, the output or the lse");
  entry_account entries;
  for (const auto& x : parts) {
    if (x.position + x.tokens > sequences_.at(x.sequence)[layer].tokens)
      return {errc::position_gap, "queries need their own tokens appended first"};
    // Row r reads position + r + 1 entries, in each KV head.
    const std::uint64_t n = x.tokens;
    entries.existing += shape_.kv_heads * (n * x.position + n * (n + 1) / 2);
  }
  entries.read = entries.existing;
  for_part_heads(team_, parts, shape_.kv_heads,
                 [&](const batch_part& part, std::size_t row, std::size_t kv_head) {
                   const auto first = row * shape_.query_heads + kv_head * shape_.group();
                   const auto at = first * shape_.head_dim;
                   attend_head({.blocks = sequences_.at(part.sequence)[layer].heads[kv_head].blocks,
                                .head_dim = shape_.head_dim,
                                .rows = part.tokens,
                                .group = shape_.group(),
                                .position = part.position,
                                .q = q.data() + at,
                                .out = out.data() + at,
                                .row_stride = std::size_t{shape_.query_heads} * shape_.head_dim,
                                .lse = lse.empty() ? nullptr : lse.data() + first,
                                .lse_stride = shape_.query_heads});
                 });
  return entries;
}

result<std::uint64_t> dense_store::bytes() {
  std::uint64_t sum = 0;
  for (const auto& [id, layers] : sequences_)
    for (const auto& layer : layers)
      for (const auto& one : layer.heads)
        for (const auto& block : one.blocks)
          sum += block.bytes();
  return sum;
}

} // namespace pikv::moe_engine
