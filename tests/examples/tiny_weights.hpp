// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model of random weights in memory, for tests.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <moe_engine/model_config.hpp>

namespace pikv::moe_engine {

/// 2 layers, width 64, 4 query heads on 2 KV heads of 16, 4 experts of width 24, top 2.
inline model_config small_config() {
  return {2, 64, 4, 2, 16, 4, 2, 24, 256, 128, 1e-5F, 1e4F, false};
}

/// Writes the bytes of a safetensors file.
class weights_writer {
public:
  void add(const std::string& name, std::vector<std::size_t> shape) {
    std::size_t n = 1;
    for (const auto x : shape)
      n *= x;
    const auto begin = data_.size();
    std::normal_distribution<float> value{0.0F, 0.1F};
    for (std::size_t i = 0; i < n; ++i) {
      const float x = value(random_);
      data_.resize(data_.size() + sizeof x);
      std::memcpy(data_.data() + data_.size() - sizeof x, &x, sizeof x);
    }
    header_[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
  }

  std::vector<std::uint8_t> bytes() const {
    const auto text = header_.dump();
    std::vector<std::uint8_t> out;
    for (int i = 0; i < 8; ++i)
      out.push_back(static_cast<std::uint8_t>(text.size() >> (8 * i)));
    out.insert(out.end(), text.begin(), text.end());
    out.insert(out.end(), data_.begin(), data_.end());
    return out;
  }

private:
  std::mt19937 random_{5};
  nlohmann::json header_ = nlohmann::json::object();
  std::vector<std::uint8_t> data_;
};

/// All tensors of a Mixtral-layout model but the one called `left_out`.
inline std::vector<std::uint8_t> small_weights(const model_config& c,
                                               const std::string& left_out = {}) {
  weights_writer out;
  const auto add = [&](const std::string& name, std::vector<std::size_t> shape) {
    if (name != left_out)
      out.add(name, std::move(shape));
  };
  const std::size_t q = std::size_t{c.query_heads} * c.head_dim;
  const std::size_t kv = std::size_t{c.kv_heads} * c.head_dim;
  add("model.embed_tokens.weight", {c.vocabulary, c.width});
  add("model.norm.weight", {c.width});
  if (!c.tied_head)
    add("lm_head.weight", {c.vocabulary, c.width});
  for (std::uint32_t i = 0; i < c.layers; ++i) {
    const auto layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {c.width});
    add(layer + "post_attention_layernorm.weight", {c.width});
    add(layer + "self_attn.q_proj.weight", {q, c.width});
    add(layer + "self_attn.k_proj.weight", {kv, c.width});
    add(layer + "self_attn.v_proj.weight", {kv, c.width});
    add(layer + "self_attn.o_proj.weight", {c.width, q});
    add(layer + "block_sparse_moe.gate.weight", {c.experts, c.width});
    for (std::uint32_t e = 0; e < c.experts; ++e) {
      const auto expert = layer + "block_sparse_moe.experts." + std::to_string(e) + ".";
      add(expert + "w1.weight", {c.expert_width, c.width});
      add(expert + "w2.weight", {c.width, c.expert_width});
      add(expert + "w3.weight", {c.expert_width, c.width});
    }
  }
  return out.bytes();
}

} // namespace pikv::moe_engine
