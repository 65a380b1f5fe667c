// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/engine.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace pikv::moe_engine {

engine::engine(const model& m, kv_store& kv, thread_team& team)
    : model_(m), kv_(kv), team_(team), rotary_(m.config) {}

result<entry_account> engine::forward(std::span<const batch_part> parts,
                                      std::span<const std::uint8_t> tokens,
                                      std::span<float> logits) {
  if (auto checked = check(parts, tokens, logits); !checked)
    return checked.error();
  embed(parts, tokens);
  auto entries = run_layers(parts);
  // The last annotate may still read our buffers, and so may whatever an error left in flight.
  auto finished = kv_.finish();
  if (!entries)
    return entries.error();
  if (!finished)
    return finished.error();
  predict(model_, team_, a_, logits);
  return entries;
}

result<entry_account> engine::run_layers(std::span<const batch_part> parts) {
  const auto& c = model_.config;
  entry_account entries;
  for (std::uint32_t layer = 0; layer < c.layers; ++layer) {
    const auto& w = model_.layers[layer];
    project(c, w, rotary_, team_, a_);
    // K and V first: each token attends to itself too, and an attend sees every append made before
    // it. There is nothing to wait for in between.
    if (auto appended = kv_.append(layer, parts, a_.k, a_.v); !appended)
      return appended.error();
    // The one point where the model cannot go on without the store. Our threads sleep meanwhile.
    auto attended = kv_.attend(layer, parts, a_.q, a_.attended, {});
    if (!attended)
      return attended.error();
    entries += *attended;
    absorb_attention(c, w, team_, a_);
    // Only now is the gate of these tokens known: it comes from what their attention gave. The
    // store files them by it while the experts run.
    if (auto annotated = kv_.annotate(layer, parts, a_.gate_logits); !annotated)
      return annotated.error();
    experts_.run(c, w, team_, a_);
  }
  return entries;
}

void engine::embed(std::span<const batch_part> parts, std::span<const std::uint8_t> tokens) {
  const std::size_t width = model_.config.width;
  a_.resize(model_.config, tokens.size());
  std::size_t row = 0;
  for (const auto& part : parts)
    for (std::uint32_t i = 0; i < part.tokens; ++i, ++row) {
      a_.positions[row] = part.position + i;
      std::copy_n(model_.embedding.data() + tokens[row] * width, width, a_.x.data() + row * width);
    }
}

result<void> engine::check(std::span<const batch_part> parts, std::span<const std::uint8_t> tokens,
                           std::span<float> logits) const {
  const auto& c = model_.config;
  if (tokens.empty() || tokens.size() != rows_of(parts)
      || logits.size() != tokens.size() * c.vocabulary)
    return {errc::invalid_argument,
            fmt::format("{} tokens and {} logits for {} rows; give one token and {} logits a row",
                        tokens.size(), logits.size(), rows_of(parts), c.vocabulary)};
  for (const auto& x : parts)
    if (x.position > c.max_positions || x.tokens > c.max_positions - x.position)
      return {
          errc::out_of_range,
          fmt::format("positions {} to {} of a model with {}; close the sequence and begin anew",
                      x.position, std::uint64_t{x.position} + x.tokens, c.max_positions)};
  return {};
}

} // namespace pikv::moe_engine
