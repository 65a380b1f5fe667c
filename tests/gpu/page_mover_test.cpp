// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>

#include <gtest/gtest.h>

#include <pikv/gpu/host/host_device.hpp>
#include <pikv/gpu/transport/copy_mover.hpp>

namespace pikv::gpu {
namespace {

using namespace std::chrono_literals;

using transport::end_point;
using transport::page_move;
using transport::page_movers;

/// Host devices; each copies as its kernel table says.
class own_kernels final : public device {
public:
  own_kernels(std::uint32_t id, const kernel_table& kernels)
      : inner_(*make_host_device({.id = {id}})), kernels_(kernels) {}
  device_id id() const noexcept override { return inner_->id(); }
  std::string_view backend() const noexcept override { return inner_->backend(); }
  arena& memory() noexcept override { return inner_->memory(); }
  arena& scratch() noexcept override { return inner_->scratch(); }
  std::unique_ptr<stream> make_stream(stream_role x) override { return inner_->make_stream(x); }
  const kernel_table& kernels() const noexcept override { return kernels_; }
  std::string describe() const override { return inner_->describe(); }

private:
  std::shared_ptr<device> inner_;
  kernel_table kernels_;
};

class page_mover : public ::testing::Test {
protected:
  void make_ends(void (*copy)(std::span<const copy_item>, executor&) noexcept = nullptr) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      auto host = *make_host_device({.id = {i}});
      auto kernels = host->kernels();
      if (copy != nullptr)
        kernels.copy = copy;
      auto d = std::make_shared<own_kernels>(i, kernels);
      streams.push_back(d->make_stream(stream_role::copy));
      ends.push_back({d, streams.back().get()});
    }
  }

  page_move pages(std::chrono::steady_clock::duration left = 10s) {
    page_move x{{0}, {1}, {}, {}, std::chrono::steady_clock::now() + left};
    for (std::size_t bytes : {4096U, 100U, 1U}) {
      x.from.push_back(*ends[0].where->memory().allocate(bytes));
      x.to.push_back(*ends[1].where->memory().allocate(bytes));
      std::fill_n(x.from.back().data(), bytes, static_cast<std::byte>(bytes % 251));
      std::fill_n(x.to.back().data(), bytes, std::byte{0xEE});
    }
    return x;
  }

  /// As an actor does it: in a task of the mover's stream.
  result<void> move(const page_movers& movers, const page_move& x) {
    const auto& mover = movers.between(x.source, x.target);
    result<void> r;
    auto& s = mover->stream_to(x.target);
    s.enqueue([&](executor& e) { r = mover->move(x, e); });
    s.synchronize();
    return r;
  }

  std::vector<std::unique_ptr<stream>> streams;
  std::vector<end_point> ends;
};

TEST_F(page_mover, copies_every_block) {
  make_ends();
  const auto movers = page_movers::make(move_path::automatic, ends);
  ASSERT_TRUE(movers.ok());
  const auto x = pages();
  ASSERT_TRUE(move(*movers, x).ok());
  for (std::size_t i = 0; i < x.from.size(); ++i)
    EXPECT_TRUE(std::equal(x.from[i].data(), x.from[i].data() + x.from[i].bytes(), x.to[i].data()));
}

TEST_F(page_mover, tells_a_copy_that_differs) {
  make_ends([](std::span<const copy_item> items, executor&) noexcept {
    for (const auto& x : items)
      std::copy_n(x.from, x.bytes - 1, x.to); // the last byte stays as it was
  });
  const auto movers = page_movers::make(move_path::peer, ends);
  ASSERT_TRUE(movers.ok());
  EXPECT_EQ(move(*movers, pages()).code(), errc::corrupt_page);
}

TEST_F(page_mover, does_nothing_after_the_deadline) {
  make_ends();
  const auto movers = page_movers::make(move_path::automatic, ends);
  ASSERT_TRUE(movers.ok());
  const auto x = pages(-1ms);
  EXPECT_EQ(move(*movers, x).code(), errc::deadline_exceeded);
  EXPECT_EQ(*x.to[0].data(), std::byte{0xEE});
}

TEST_F(page_mover, uses_the_targets_stream_for_copies) {
  make_ends();
  const auto movers = page_movers::make(move_path::automatic, ends);
  ASSERT_TRUE(movers.ok());
  EXPECT_FALSE(movers->between({0}, {1})->through_nccl());
  EXPECT_EQ(&movers->between({0}, {1})->stream_to({1}), streams[1].get());
}

TEST(check_path, takes_nccl_on_gpus_only) {
  EXPECT_TRUE(transport::check_path(move_path::automatic, "host").ok());
  EXPECT_TRUE(transport::check_path(move_path::peer, "cuda").ok());
  const auto r = transport::check_path(move_path::nccl, "host");
  ASSERT_EQ(r.code(), errc::unsupported);
  EXPECT_NE(r.error().what.find("devices.backend"), std::string::npos);
}

} // namespace
} // namespace pikv::gpu
