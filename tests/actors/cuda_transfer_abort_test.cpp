// SPDX-License-Identifier: Apache-2.0
// A move through NCCL that hangs ends with an error at its deadline; its pages stay where they were
// and can be read, and later moves work. Needs a GPU; with one, its rank sends to itself.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/transport/nccl/nccl_mover.hpp>

#include "gpu/nccl/stream_gate.hpp"
#include "support/cache_harness.hpp"
#include "support/transfer_metrics.hpp"

namespace pikv::test {
namespace {

using namespace std::chrono_literals;

template <class Predicate>
bool eventually(Predicate&& f, std::chrono::seconds limit) {
  for (const auto until = std::chrono::steady_clock::now() + limit; !f();) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

class cuda_transfer_abort : public ::testing::Test {
protected:
  void SetUp() override {
    if (auto d = gpu::make_device("cuda", {}); !d)
      GTEST_SKIP() << "no GPU to test on: " << d.error().what;
    alarm(200);
  }
  void TearDown() override { alarm(0); }

  static config::settings settings() {
    auto s = small_settings();
    s.devices.backend = "cuda";
    s.devices.count = 2;
    s.cache.stored = dtype::f16;
    s.transfer.path = move_path::nccl;
    s.limits.deadline = 12s; // moves get 6 s
    return s;
  }

  struct call {
    pending_append append;
    pending_attend attend;
  };
  static call begin(cache_harness& h, std::size_t sequence, std::uint32_t tokens) {
    std::vector<step> steps{{sequence, 0, tokens}};
    auto append = h.append(0, steps);
    auto attend = h.attend(0, steps);
    return {std::move(append), std::move(attend)};
  }

  /// Waits; every entry was read, and the outputs are those of dense attention.
  static void expect_right(const cache_harness& h, const call& x) {
    EXPECT_TRUE(x.append.done.wait().ok());
    const auto& report = x.attend.done.wait();
    ASSERT_TRUE(report.ok()) << report.error().what;
    EXPECT_EQ(report->entries.read, report->entries.existing);
    double error = 0, norm = 0;
    for (std::uint32_t row = 0; row < x.attend.q.rows(); ++row)
      for (std::uint32_t head = 0; head < h.shape().query_heads; ++head) {
        const auto want = h.dense(x.attend, row, head, [](std::uint32_t) { return true; });
        for (std::uint32_t c = 0; c < h.shape().head_dim; ++c) {
          const double d = static_cast<double>(x.attend.out.get(row, head, c)) - want.out[c];
          error += d * d;
          norm += want.out[c] * want.out[c];
        }
      }
    EXPECT_LT(std::sqrt(error / norm), 1e-2);
  }
};

TEST_F(cuda_transfer_abort, a_move_that_hangs_loses_nothing_and_later_moves_work) {
  cache_harness h{settings(), {1, 4, 2, 64, 0}, 7};
  const auto moved = [&h] { return moved_bytes(h.kv(), "nccl"); };
  const auto failed = [&h] { return failed_moves(h.kv(), "nccl"); };
  auto& mover = dynamic_cast<gpu::transport::nccl_mover&>(
      *cache_access::context(h.kv()).movers.between({0}, {1}));
  const auto x = h.open();
  expect_right(h, begin(h, x, 100));
  expect_right(h, begin(h, x, 21)); // behind the moves of the first
  EXPECT_GT(moved(), 0);
  EXPECT_EQ(failed(), 0);
  {
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    stream_gate held(mover.native_stream({0}));
    const auto before = moved();
    const auto hangs = begin(h, x, 100);
    EXPECT_TRUE(eventually([&] { return failed() > 0; }, 20s));
    EXPECT_EQ(moved(), before);
    held.open();
    expect_right(h, hangs);
  }
  const auto before = moved(), failed_before = failed();
  expect_right(h, begin(h, x, 100));
  expect_right(h, begin(h, x, 21));
  EXPECT_GT(moved(), before);
  EXPECT_EQ(failed(), failed_before);
}

} // namespace
} // namespace pikv::test
