// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model's weights in f32, packed for products. Mixtral layout: per layer, RMSNorm, grouped-query
/// attention with rotary positions, RMSNorm, and experts behind a gate (Jiang et al., "Mixtral of
/// Experts", arXiv 2401.04088).
#pragma once

#include <string>
#include <vector>

#include <moe_engine/linear.hpp>
#include <moe_engine/model_config.hpp>
#include <moe_engine/tensor_file.hpp>

namespace pikv::moe_engine {

struct expert_weights {
  packed_matrix gate_up; ///< `[2 * expert_width, width]`: Mixtral's w1, then its w3
  packed_matrix down;    ///< `[width, expert_width]`: w2
};

struct layer_weights {
  std::vector<float> attention_norm; ///< `[width]`
  packed_matrix query;               ///< `[query_heads * head_dim, width]`
  packed_matrix key;                 ///< `[kv_heads * head_dim, width]`
  packed_matrix value;               ///< `[kv_heads * head_dim, width]`
  packed_matrix output;              ///< `[width, query_heads * head_dim]`
  std::vector<float> expert_norm;    ///< `[width]`
  packed_matrix gate;                ///< `[experts, width]`
  std::vector<expert_weights> experts;
};

/// Immutable after loading; any thread may read.
struct model {
  model_config config;
  std::vector<float> embedding; ///< `[vocabulary, width]`
  std::vector<layer_weights> layers;
  std::vector<float> final_norm; ///< `[width]`
  packed_matrix head;            ///< `[vocabulary, width]`
};

/// Loads config.json and model.safetensors of a folder. Errors: errc::io_failed, errc::model_file.
result<model> load_model(const std::string& folder);

/// The same from a description and a file that are read already.
result<model> build_model(const model_config& config, const tensor_file& file);

} // namespace pikv::moe_engine
