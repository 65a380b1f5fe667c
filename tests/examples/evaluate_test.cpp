// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <examples/store_wrappers.hpp>
#include <moe_engine/dense_store.hpp>
#include <moe_engine/evaluate.hpp>

namespace pikv::moe_engine {
namespace {

const std::string folder = PIKV_TINY_MOE;

class tiny_moe : public testing::Test {
protected:
  static void SetUpTestSuite() {
    m = new model{*load_model(folder)};
    text = new std::vector<std::uint8_t>{*read_bytes(folder + "/eval_text.txt")};
  }
  static void TearDownTestSuite() {
    delete m;
    delete text;
  }
  static evaluation_options quick() {
    evaluation_options o;
    o.windows = 3;
    o.needles = 2;
    o.window_bytes = 512;
    o.sequences = 2;
    o.coverage_stride = 61;
    return o;
  }

  thread_team team{2};
  dense_store kv{m->config.shape(), dtype::f32, team};
  static model* m;
  static std::vector<std::uint8_t>* text;
};

model* tiny_moe::m = nullptr;
std::vector<std::uint8_t>* tiny_moe::text = nullptr;

TEST_F(tiny_moe, eight_windows_cost_the_known_bits_per_byte) {
  evaluation_options o;
  o.windows = 8;
  o.needles = 0;
  o.coverage_stride = 0;
  const auto r = evaluate(*m, kv, team, *text, o);
  ASSERT_TRUE(r.ok()) << r.error().what;
  EXPECT_NEAR(r->bits_per_byte, 1.3749, 1e-4);
  EXPECT_EQ(r->predictions, 8U * 4095);
}

TEST_F(tiny_moe, dense_finds_its_needles) {
  evaluation_options o;
  o.windows = 0;
  o.needles = 4;
  o.coverage_stride = 0;
  const auto r = evaluate(*m, kv, team, *text, o);
  ASSERT_TRUE(r.ok()) << r.error().what;
  EXPECT_EQ(r->needles_right, 4U);
}

TEST_F(tiny_moe, dense_covers_everything) {
  const auto r = evaluate(*m, kv, team, *text, quick());
  ASSERT_TRUE(r.ok());
  EXPECT_NEAR(r->coverage, 1.0, 1e-5);
  // Positions 30, 91, ..., 457 of 3 windows, 6 layers, 8 heads; needles are not sampled.
  EXPECT_EQ(r->coverage_samples, 8U * 3 * 6 * 8);
}

TEST_F(tiny_moe, coverage_sees_mass_that_was_not_read) {
  half_mass_store half{kv};
  const auto r = evaluate(*m, half, team, *text, quick());
  ASSERT_TRUE(r.ok());
  EXPECT_NEAR(r->coverage, 0.5, 1e-5);
}

TEST_F(tiny_moe, counts_tokens_entries_and_bytes) {
  const auto r = evaluate(*m, kv, team, *text, quick());
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->tokens, 5U * 512);
  EXPECT_EQ(r->entries.existing, 5ULL * 6 * 4 * (512 * 513 / 2));
  EXPECT_DOUBLE_EQ(r->kv_bytes_per_token(), 6 * 2 * 4 * 32 * 4);
  EXPECT_GT(r->tokens_per_second(), 0);
}

TEST_F(tiny_moe, measuring_coverage_does_not_change_the_result) {
  auto o = quick();
  const auto with = evaluate(*m, kv, team, *text, o);
  o.coverage_stride = 0;
  const auto without = evaluate(*m, kv, team, *text, o);
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_EQ(with->bits_per_byte, without->bits_per_byte);
  EXPECT_EQ(without->coverage_samples, 0U);
}

TEST_F(tiny_moe, progress_reaches_the_total) {
  evaluation_progress last;
  ASSERT_TRUE(evaluate(*m, kv, team, *text, quick(), [&](const auto& x) {
                last = x;
                return true;
              }).ok());
  EXPECT_EQ(last.phase, evaluation_phase::needles);
  EXPECT_EQ(last.tokens_done, 5U * 512);
  EXPECT_EQ(last.tokens_total, 5U * 512);
}

TEST_F(tiny_moe, stopping_closes_the_sequences) {
  counting_store counted{kv};
  const auto r = evaluate(*m, counted, team, *text, quick(), [](const auto&) { return false; });
  EXPECT_EQ(r.code(), errc::cancelled);
  EXPECT_EQ(counted.opened, 2U);
  EXPECT_EQ(counted.closed, 2U);
}

TEST_F(tiny_moe, error_of_the_store_closes_the_sequences_and_is_handed_up) {
  counting_store failing{kv, 9};
  const auto r = evaluate(*m, failing, team, *text, quick());
  EXPECT_EQ(r.code(), errc::deadline_exceeded);
  EXPECT_EQ(failing.closed, failing.opened);
  EXPECT_EQ(*kv.bytes(), 0U);
}

TEST_F(tiny_moe, text_that_is_too_short_is_refused) {
  evaluation_options o;
  o.windows = 49;
  EXPECT_EQ(evaluate(*m, kv, team, *text, o).code(), errc::invalid_argument);
}

TEST_F(tiny_moe, windows_beyond_the_model_are_refused) {
  auto o = quick();
  o.window_bytes = 4097;
  EXPECT_EQ(evaluate(*m, kv, team, *text, o).code(), errc::invalid_argument);
}

TEST(reference, a_file_without_the_list_is_refused) {
  EXPECT_EQ(read_reference(folder + "/config.json").code(), errc::model_file);
}

} // namespace
} // namespace pikv::moe_engine
