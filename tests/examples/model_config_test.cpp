// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <moe_engine/model_config.hpp>

namespace pikv::moe_engine {
namespace {

nlohmann::json valid() {
  return {{"model_type", "mixtral"},        {"num_hidden_layers", 2},   {"hidden_size", 64},
          {"num_attention_heads", 4},       {"num_key_value_heads", 2}, {"num_local_experts", 4},
          {"num_experts_per_tok", 2},       {"intermediate_size", 24},  {"vocab_size", 256},
          {"max_position_embeddings", 128}, {"rms_norm_eps", 1e-5},     {"rope_theta", 1e4},
          {"hidden_act", "silu"},           {"sliding_window", nullptr}};
}

TEST(model_config, reads_all_sizes) {
  const auto c = parse_config(valid().dump(), "c");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(c->shape(), (model_shape{2, 4, 2, 16, 4}));
}

TEST(model_config, head_dim_wins_over_the_quotient) {
  auto x = valid();
  x["head_dim"] = 32;
  EXPECT_EQ(parse_config(x.dump(), "c")->head_dim, 32U);
}

TEST(model_config, text_that_is_no_json_is_refused) {
  EXPECT_EQ(parse_config("{", "c").code(), errc::model_file);
  EXPECT_EQ(parse_config("[]", "c").code(), errc::model_file);
}

class needed_key : public testing::TestWithParam<const char*> {};

TEST_P(needed_key, missing_is_refused_by_name) {
  auto x = valid();
  x.erase(GetParam());
  const auto c = parse_config(x.dump(), "config.json");
  ASSERT_EQ(c.code(), errc::model_file);
  EXPECT_EQ(c.error().what, std::string{"config.json: '"} + GetParam() + "' is missing");
}

TEST_P(needed_key, of_a_wrong_type_is_refused) {
  auto x = valid();
  x[GetParam()] = nlohmann::json::array();
  EXPECT_EQ(parse_config(x.dump(), "c").code(), errc::model_file);
}

INSTANTIATE_TEST_SUITE_P(model_config, needed_key,
                         testing::Values("model_type", "num_hidden_layers", "hidden_size",
                                         "num_attention_heads", "num_key_value_heads",
                                         "num_local_experts", "num_experts_per_tok",
                                         "intermediate_size", "vocab_size",
                                         "max_position_embeddings", "rms_norm_eps", "rope_theta"));

struct contradiction {
  const char* name;
  const char* key;
  nlohmann::json value;
};

class contradictory : public testing::TestWithParam<contradiction> {};

TEST_P(contradictory, values_are_refused) {
  auto x = valid();
  x[GetParam().key] = GetParam().value;
  const auto c = parse_config(x.dump(), "c");
  EXPECT_EQ(c.code(), errc::model_file);
}

INSTANTIATE_TEST_SUITE_P(
    model_config, contradictory,
    testing::Values(contradiction{"heads_not_divided", "num_key_value_heads", 3},
                    contradiction{"more_chosen_than_experts", "num_experts_per_tok", 5},
                    contradiction{"width_not_divided", "hidden_size", 66},
                    contradiction{"head_dim_not_of_8", "head_dim", 12},
                    contradiction{"head_dim_too_large", "head_dim", 264},
                    contradiction{"other_vocabulary", "vocab_size", 32000},
                    contradiction{"no_layers", "num_hidden_layers", 0},
                    contradiction{"negative", "hidden_size", -64},
                    contradiction{"huge", "hidden_size", 1ULL << 40},
                    contradiction{"zero_epsilon", "rms_norm_eps", 0.0},
                    contradiction{"other_model", "model_type", "llama"},
                    contradiction{"other_activation", "hidden_act", "gelu"},
                    contradiction{"scaled_rope", "rope_scaling", {{"type", "yarn"}}},
                    contradiction{"window", "sliding_window", 4096}),
    [](const auto& x) { return x.param.name; });

} // namespace
} // namespace pikv::moe_engine
