// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <examples/tiny_weights.hpp>
#include <moe_engine/model.hpp>

namespace pikv::moe_engine {
namespace {

result<model> build(const model_config& c, const std::string& left_out = {}) {
  auto file = tensor_file::parse(small_weights(c, left_out), "x");
  if (!file)
    return file.error();
  return build_model(c, *file);
}

TEST(model, has_all_layers_and_experts) {
  const auto m = build(small_config());
  ASSERT_TRUE(m.ok()) << m.error().what;
  ASSERT_EQ(m->layers.size(), 2U);
  EXPECT_EQ(m->layers[1].experts.size(), 4U);
}

TEST(model, tied_head_needs_no_head_tensor) {
  auto c = small_config();
  c.tied_head = true;
  const auto m = build(c);
  ASSERT_TRUE(m.ok());
  EXPECT_EQ(m->head.panel(0)[packed_matrix::panel_width], m->embedding[1]);
}

class needed_tensor : public testing::TestWithParam<const char*> {};

TEST_P(needed_tensor, missing_is_refused_by_name) {
  const auto m = build(small_config(), GetParam());
  ASSERT_EQ(m.code(), errc::model_file);
  EXPECT_NE(m.error().what.find(std::string{"'"} + GetParam() + "' is missing"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(model, needed_tensor,
                         testing::Values("model.embed_tokens.weight", "model.norm.weight",
                                         "lm_head.weight", "model.layers.0.input_layernorm.weight",
                                         "model.layers.1.self_attn.k_proj.weight",
                                         "model.layers.1.block_sparse_moe.gate.weight",
                                         "model.layers.1.block_sparse_moe.experts.3.w2.weight"));

TEST(model, weights_of_another_width_are_refused) {
  auto other = small_config();
  other.expert_width = 25;
  const auto file = tensor_file::parse(small_weights(small_config()), "x");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(build_model(other, *file).code(), errc::model_file);
}

TEST(model, a_folder_without_files_is_an_io_error) {
  EXPECT_EQ(load_model("/nonexistent").code(), errc::io_failed);
}

} // namespace
} // namespace pikv::moe_engine
