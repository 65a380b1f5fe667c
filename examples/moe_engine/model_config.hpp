// SPDX-License-Identifier: Apache-2.0
/// \file
/// The description of a model: what Hugging Face's config.json says of a Mixtral-layout model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::moe_engine {

struct model_config {
  std::uint32_t layers = 0;
  std::uint32_t width = 0; ///< of the residual stream
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t experts = 0;
  std::uint32_t experts_per_token = 0;
  std::uint32_t expert_width = 0;
  std::uint32_t vocabulary = 0; ///< 256: tokens are bytes
  std::uint32_t max_positions = 0;
  float norm_epsilon = 0;
  float rope_theta = 0;
  bool tied_head = false; ///< the head is the embedding

  /// What PiKV wants to know.
  model_shape shape() const noexcept { return {layers, query_heads, kv_heads, head_dim, experts}; }
};

/// Reads the text of a config.json; `name` stands in errors. Errors: errc::model_file when a key is
/// missing, values contradict each other, or the model needs what this engine does not do.
result<model_config> parse_config(std::string_view text, const std::string& name);

} // namespace pikv::moe_engine
