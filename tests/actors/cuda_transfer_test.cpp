// SPDX-License-Identifier: Apache-2.0
// Pages that move between logical devices by each path: the same accounts and outputs as on the
// host, through the path that was asked for. Needs a GPU; paths differ most on two.
#include <string>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/transport/page_mover.hpp>

#include "support/cache_play.hpp"
#include "support/transfer_metrics.hpp"

namespace pikv::test {
namespace {

class cuda_transfer : public ::testing::TestWithParam<move_path> {
protected:
  void SetUp() override {
    if (auto d = gpu::make_device("cuda", {}); !d)
      GTEST_SKIP() << "no GPU to test on: " << d.error().what;
    if (auto r = gpu::transport::check_path(GetParam(), "cuda"); !r)
      GTEST_SKIP() << r.error().what;
  }

  static config::settings random_case(std::mt19937_64& rng) {
    auto s = random_settings(rng, one_of(rng, {dtype::f16, dtype::bf16}));
    s.devices.count = 3;
    s.cache.window = s.cache.page_tokens;
    s.cache.shards = 16;
    s.placement = choose(one_of(rng, {"stripe", "hash"}));
    s.compression = choose(one_of(rng, {"identity", "int8"}));
    s.selection = choose(one_of(rng, {"all", "mass"}), {});
    if (s.selection.name == "mass")
      s.selection.options.set("share", 1.0); // makes summaries, which move too
    return s;
  }

  /// Compares one case with the host, and counts the bytes that moved.
  void compare(config::settings s, std::uint64_t seed) {
    const auto want = play(s, "host", seed, 25);
    s.devices.backend = "cuda";
    s.transfer.path = GetParam();
    const auto got = play(s, seed, 25, [this](cache_harness& h) {
      by_nccl += moved_bytes(h.kv(), "nccl");
      by_copies += moved_bytes(h.kv(), "device_to_device");
      EXPECT_EQ(failed_moves(h.kv(), "nccl") + failed_moves(h.kv(), "device_to_device"), 0);
    });
    ASSERT_EQ(got.size(), want.size());
    const double tolerance = s.cache.stored == dtype::f16 ? 4e-3 : 2e-2;
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].entries, want[i].entries);
      EXPECT_LT(relative_error(got[i].out, want[i].out), tolerance) << "attend " << i;
    }
  }

  double by_nccl = 0, by_copies = 0; ///< bytes
};

TEST_P(cuda_transfer, gives_what_the_host_gives) {
  std::mt19937_64 rng(21);
  for (std::uint64_t i = 0; i < 12 && !HasFailure(); ++i)
    compare(random_case(rng), i);
  EXPECT_GT(by_nccl + by_copies, 0) << "no page moved: the cases say nothing";
  if (GetParam() == move_path::nccl) {
    EXPECT_EQ(by_copies, 0);
  }
  if (GetParam() == move_path::peer) {
    EXPECT_EQ(by_nccl, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(by, cuda_transfer,
                         ::testing::Values(move_path::automatic, move_path::peer, move_path::nccl),
                         [](const auto& x) {
                           return std::string{x.param == move_path::automatic ? "automatic"
                                              : x.param == move_path::peer    ? "peer"
                                                                              : "nccl"};
                         });

} // namespace
} // namespace pikv::test
