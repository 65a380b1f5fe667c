// SPDX-License-Identifier: Apache-2.0
#include "plan_model.hpp"

#include <algorithm>
#include <array>

namespace pikv::tools {

namespace {

constexpr std::array models{
    kv_model{"mixtral-8x7b", "config.json of mistralai/Mixtral-8x7B-v0.1", 32, 32, 8, 128, 128, 8,
             32768},
    kv_model{"qwen3-30b-a3b", "config.json of Qwen/Qwen3-30B-A3B", 48, 32, 4, 128, 128, 128, 32768},
    kv_model{
        "deepseek-v3",
        "MLA: one latent of 512 and a rotary key of 64 per token and layer, shared by all heads;"
        " counted as one KV head with K of 576 and no V",
        61, 128, 1, 576, 0, 256, 131072},
    kv_model{
        "paper-7b",
        "the paper's example (7B MoE, 128K context, 16 experts); it gives no attention shape, so"
        " this takes Llama-2-7B's: 32 layers, 32 heads of 128, no grouping",
        32, 32, 32, 128, 128, 16, 131072},
};

} // namespace

std::span<const kv_model> known_models() noexcept { return models; }

const kv_model* find_model(std::string_view name) noexcept {
  const auto* found = std::ranges::find(models, name, &kv_model::name);
  return found == models.end() ? nullptr : found;
}

} // namespace pikv::tools
