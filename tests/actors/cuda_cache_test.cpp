// SPDX-License-Identifier: Apache-2.0
// The same calls on the host and on a GPU: the same accounts, and outputs as close as the GPU's
// 16-bit queries allow. Needs a GPU and a build that has the CUDA backend.
#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>

#include "support/cache_play.hpp"

namespace pikv::test {
namespace {

class cuda_cache : public ::testing::Test {
protected:
  void SetUp() override {
    if (auto d = gpu::make_device("cuda", {}); !d)
      GTEST_SKIP() << "no GPU to test on: " << d.error().what;
  }

  /// `tolerance` holds for all attends but `rare` of a hundred, where a page near the edge of a
  /// selection may be chosen on one side only.
  void expect_same(const config::settings& s, std::uint64_t seed, double tolerance, int rare = 0) {
    const auto want = play(s, "host", seed, 25);
    const auto got = play(s, "cuda", seed, 25);
    ASSERT_EQ(got.size(), want.size());
    int worse = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].entries, want[i].entries);
      const double error = relative_error(got[i].out, want[i].out);
      ASSERT_FALSE(std::isnan(error)) << "attend " << i;
      EXPECT_LT(error, rare > 0 ? 1.0 : tolerance) << "attend " << i;
      worse += error < tolerance ? 0 : 1;
    }
    EXPECT_LE(worse * 100, rare * static_cast<int>(want.size()));
  }

  config::settings random_case(std::mt19937_64& rng) {
    auto s = random_settings(rng, one_of(rng, {dtype::f16, dtype::bf16}));
    s.cache.window = s.cache.page_tokens;
    s.placement = choose(one_of(rng, {"stripe", "hash"}));
    return s;
  }
  static double tolerance_of(const config::settings& s) {
    return s.cache.stored == dtype::f16 ? 4e-3 : 2e-2;
  }
};

TEST_F(cuda_cache, reads_everything_as_the_host_does) {
  std::mt19937_64 rng(1);
  for (std::uint64_t i = 0; i < 25 && !HasFailure(); ++i) {
    const auto s = random_case(rng);
    expect_same(s, i, tolerance_of(s));
  }
}

TEST_F(cuda_cache, reads_quantised_pages_as_the_host_does) {
  std::mt19937_64 rng(2);
  for (std::uint64_t i = 0; i < 20 && !HasFailure(); ++i) {
    auto s = random_case(rng);
    s.compression = choose(i % 2 == 0 ? "int8" : "int4");
    expect_same(s, i, tolerance_of(s));
  }
}

TEST_F(cuda_cache, selects_pages_as_the_host_does) {
  std::mt19937_64 rng(3);
  for (std::uint64_t i = 0; i < 20 && !HasFailure(); ++i) {
    auto s = random_case(rng);
    s.selection =
        choose(i % 2 == 0 ? "mass" : "quest",
               {{"heads", std::string{i % 4 < 2 ? "shared" : "per_kv_head"}}, {"share", 0.25}});
    if (i % 3 == 0)
      s.routing = choose("mass");
    expect_same(s, i, tolerance_of(s), 15);
  }
}

TEST_F(cuda_cache, evicts_under_a_budget) {
  std::mt19937_64 rng(4);
  for (std::uint64_t i = 0; i < 10 && !HasFailure(); ++i) {
    auto s = random_case(rng);
    s.budget = choose("uniform", {{"tokens", std::int64_t{64}}});
    s.scheduling = choose("streaming");
    expect_same(s, i, tolerance_of(s));
    s.scheduling = choose("h2o");
    for (const auto& x : play(s, "cuda", i, 25))
      EXPECT_TRUE(x.entries.adds_up());
  }
}

TEST_F(cuda_cache, forks_share_pages_and_part_at_the_next_append) {
  auto s = small_settings();
  s.devices.backend = "cuda";
  s.cache.stored = dtype::f16;
  cache_harness h{s, {1, 4, 2, 64, 0}, 5};
  const auto parent = h.open();
  h.fill(parent, 0, 150);
  auto child = h.sequences[parent];
  child.id = *h.kv().fork(h.sequences[parent].id).wait();
  h.sequences.push_back(child);
  for (std::size_t x : {parent, parent + 1}) {
    std::vector<step> next{{x, 0, 21}};
    EXPECT_TRUE(h.append(0, next).done.wait().ok());
    auto a = h.attend(0, next);
    ASSERT_TRUE(a.done.wait().ok());
    for (std::uint32_t row = 0; row < 21; ++row)
      for (std::uint32_t head = 0; head < 4; ++head) {
        const auto want = h.dense(a, row, head, [](std::uint32_t) { return true; });
        double error = 0, norm = 0;
        for (std::uint32_t c = 0; c < 64; ++c) {
          const double d = static_cast<double>(a.out.get(row, head, c)) - want.out[c];
          error += d * d;
          norm += want.out[c] * want.out[c];
        }
        EXPECT_LT(std::sqrt(error / norm), 1e-2);
      }
  }
}

TEST_F(cuda_cache, refuses_pages_in_f32_and_says_what_to_set) {
  auto s = small_settings();
  s.devices.backend = "cuda";
  s.cache.stored = dtype::f32;
  auto rt = runtime::start(s);
  ASSERT_TRUE(rt.ok());
  const auto opened = rt->open({1, 4, 2, 64, 0});
  ASSERT_EQ(opened.code(), errc::unsupported);
  EXPECT_NE(opened.error().what.find("cache.dtype"), std::string::npos);
}

TEST_F(cuda_cache, refuses_forms_without_kernels_and_names_those_that_it_holds) {
  for (const char* policy : {"int3", "int2", "mixed"}) {
    auto s = small_settings();
    s.devices.backend = "cuda";
    s.compression = {policy, {}};
    auto rt = runtime::start(s);
    ASSERT_TRUE(rt.ok());
    const auto opened = rt->open({1, 4, 2, 64, 0});
    ASSERT_EQ(opened.code(), errc::unsupported);
    EXPECT_NE(opened.error().what.find("int8, int4, fp8"), std::string::npos);
  }
}

} // namespace
} // namespace pikv::test
