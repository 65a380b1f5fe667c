// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include <moe_engine/engine.hpp>
#include <moe_engine/evaluate.hpp>
#include <moe_engine/pikv_store.hpp>
#include <pikv/actors/runtime.hpp>

namespace pikv::moe_engine {
namespace {

const std::string folder = PIKV_TINY_MOE;

/// Reads everything and rounds nothing.
config::settings exact(std::uint32_t shards, std::uint32_t devices) {
  config::settings s;
  s.metrics.enabled = false;
  s.cache.stored = dtype::f32;
  s.cache.shards = shards;
  s.devices.count = devices;
  s.devices.threads = 1;
  return s;
}

/// (shards, devices)
class engine_on_pikv : public testing::TestWithParam<std::tuple<std::uint32_t, std::uint32_t>> {};

TEST_P(engine_on_pikv, log_probabilities_equal_the_reference) {
  const auto [shards, devices] = GetParam();
  auto rt = runtime::start(exact(shards, devices));
  ASSERT_TRUE(rt.ok()) << rt.error().what;
  const auto m = load_model(folder);
  ASSERT_TRUE(m.ok()) << m.error().what;
  auto opened = rt->open(m->config.shape());
  ASSERT_TRUE(opened.ok()) << opened.error().what;
  pikv_store kv{*opened};
  const auto text = read_bytes(folder + "/eval_text.txt");
  const auto reference = read_reference(folder + "/reference.json");
  ASSERT_TRUE(text.ok() && reference.ok());
  thread_team team{2};
  const auto got = log_probabilities(*m, kv, team, std::span{*text}.first(2048));
  ASSERT_TRUE(got.ok()) << got.error().what;
  ASSERT_EQ(got->size(), reference->size());
  for (std::size_t i = 0; i < got->size(); ++i)
    ASSERT_NEAR((*got)[i], (*reference)[i], 2e-3) << "byte " << i + 1;
}

INSTANTIATE_TEST_SUITE_P(shards_and_devices, engine_on_pikv,
                         testing::Combine(testing::Values(1U, 3U, 16U),
                                          testing::Values(1U, 2U, 4U)),
                         [](const auto& x) {
                           return std::to_string(std::get<0>(x.param)) + "_shards_"
                                  + std::to_string(std::get<1>(x.param)) + "_devices";
                         });

class one_device : public testing::Test {
protected:
  runtime rt = *runtime::start(exact(4, 1));
  model m = *load_model(folder);
  std::vector<std::uint8_t> text = *read_bytes(folder + "/eval_text.txt");
  thread_team team{2};
};

TEST_F(one_device, evaluation_reads_everything_and_counts_bytes) {
  pikv_store kv{*rt.open(m.config.shape())};
  evaluation_options o;
  o.windows = 2;
  o.needles = 0;
  o.window_bytes = 1024;
  o.sequences = 2;
  const auto r = evaluate(m, kv, team, text, o);
  ASSERT_TRUE(r.ok()) << r.error().what;
  EXPECT_TRUE(r->entries.adds_up());
  EXPECT_EQ(r->entries.read, r->entries.existing);
  EXPECT_NEAR(r->coverage, 1.0, 1e-4);
  EXPECT_GE(r->kv_bytes_per_token(), 6 * 2 * 4 * 32 * 4);
}

TEST_F(one_device, stopped_runtime_ends_the_evaluation_with_cancelled) {
  pikv_store kv{*rt.open(m.config.shape())};
  rt.stop();
  evaluation_options o;
  o.windows = 1;
  o.needles = 0;
  EXPECT_EQ(evaluate(m, kv, team, text, o).code(), errc::cancelled);
}

TEST_F(one_device, gap_in_positions_is_handed_up) {
  pikv_store kv{*rt.open(m.config.shape())};
  engine e{m, kv, team};
  const batch_part parts[] = {{*kv.open(), 5, 1}};
  std::vector<float> logits(256);
  EXPECT_EQ(e.forward(parts, std::span{text}.first(1), logits).code(), errc::position_gap);
}

} // namespace
} // namespace pikv::moe_engine
