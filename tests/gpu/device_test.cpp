// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/device.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/host/host_device.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu {
namespace {

constexpr std::size_t MiB = std::size_t{1} << 20;

std::shared_ptr<device> make_test_device(std::uint32_t threads = 2, fault_plan faults = {}) {
  auto d = make_host_device(
      {.id = device_id{5}, .memory_bytes = 8 * MiB, .scratch_bytes = MiB, .threads = threads},
      std::move(faults));
  EXPECT_TRUE(d.ok());
  return d.ok() ? *d : nullptr;
}

TEST(make_device, makes_a_host_device_by_name) {
  const auto d = make_device("host", {.id = device_id{2}, .threads = 2});
  ASSERT_TRUE(d.ok());
  EXPECT_EQ((*d)->id(), device_id{2});
  EXPECT_EQ((*d)->backend(), "host");
  EXPECT_EQ(&(*d)->kernels(), &host_kernels());
}

TEST(make_device, an_unknown_backend_is_unsupported_and_the_error_lists_those_there_are) {
  const auto d = make_device("abacus", {});
  ASSERT_EQ(d.code(), errc::unsupported);
  EXPECT_NE(d.error().what.find("abacus"), std::string::npos);
  for (const std::string_view x : backends())
    EXPECT_NE(d.error().what.find(x), std::string::npos);
}

TEST(make_device, options_out_of_range_are_refused) {
  EXPECT_EQ(make_device("host", {.threads = 0}).code(), errc::invalid_argument);
  EXPECT_EQ(make_device("host", {.threads = 1'000'000}).code(), errc::invalid_argument);
  EXPECT_EQ(make_device("host", {.memory_bytes = 0}).code(), errc::invalid_argument);
  EXPECT_EQ(make_device("host", {.spin = std::chrono::microseconds(-1)}).code(),
            errc::invalid_argument);
}

/// A host device that calls itself another and holds two forms.
class small_device final : public device {
public:
  explicit small_device(std::shared_ptr<device> real) : real_(std::move(real)) {}
  device_id id() const noexcept override { return real_->id(); }
  std::string_view backend() const noexcept override { return "small"; }
  arena& memory() noexcept override { return real_->memory(); }
  arena& scratch() noexcept override { return real_->scratch(); }
  std::unique_ptr<stream> make_stream(stream_role x) override { return real_->make_stream(x); }
  const kernel_table& kernels() const noexcept override { return real_->kernels(); }
  std::span<const form> forms() const noexcept override { return held; }
  std::string describe() const override { return real_->describe(); }

private:
  static constexpr form held[] = {form::bf16, form::int4};
  std::shared_ptr<device> real_;
};

TEST(check_form, names_the_forms_that_a_device_holds) {
  const small_device d(make_test_device());
  EXPECT_TRUE(check_form(d, form::int4));
  for (const form x : {form::int3, form::int2, form::k4v2, form::k3v2}) {
    const auto r = check_form(d, x);
    ASSERT_EQ(r.code(), errc::unsupported);
    for (const std::string_view part : {"small", "bf16, int4", "compression.policy"})
      EXPECT_NE(r.error().what.find(part), std::string::npos) << r.error().what;
    EXPECT_NE(r.error().what.find(to_string(x)), std::string::npos) << r.error().what;
  }
}

TEST(check_form, the_host_holds_every_form) {
  for (const form x : all_forms)
    EXPECT_TRUE(check_form(*make_test_device(), x));
}

TEST(backends, host_is_among_them) {
  EXPECT_EQ(std::count(backends().begin(), backends().end(), "host"), 1);
}

TEST(device, describes_itself_in_one_line) {
  const auto two = make_device("host", {.memory_bytes = std::size_t{1} << 30, .threads = 2});
  EXPECT_EQ((*two)->describe(), "host: " + std::string(host_simd_target()) + ", 2 threads, 1 GiB");
  const auto one = make_device("host", {.memory_bytes = MiB + MiB / 2});
  EXPECT_EQ((*one)->describe(), "host: " + std::string(host_simd_target()) + ", 1 thread, 1.5 MiB");
}

TEST(device, its_arenas_have_their_own_budgets_and_names) {
  const auto d = make_test_device();
  EXPECT_EQ(d->memory().usage().capacity, 8 * MiB);
  EXPECT_EQ(d->scratch().usage().capacity, MiB);
  const block x = *d->memory().allocate(100);
  const block y = *d->scratch().allocate(100);
  EXPECT_EQ(x.ref().device, device_id{5});
  EXPECT_EQ(x.ref().arena, arena_kind::memory);
  EXPECT_EQ(y.ref().arena, arena_kind::scratch);
  EXPECT_EQ(d->memory().share(y.ref()).code(), errc::invalid_argument);
}

TEST(device, tasks_get_an_executor_of_the_devices_threads) {
  const auto d = make_test_device(3);
  const auto s = d->make_stream(stream_role::compute);
  std::size_t threads = 0;
  s->enqueue([&](executor& x) { threads = x.threads(); });
  s->synchronize();
  EXPECT_EQ(threads, 3U);
}

TEST(device, may_go_before_its_blocks_and_streams) {
  auto d = make_test_device();
  block x = *d->memory().allocate(4096);
  block y = *d->scratch().allocate(2 * 4096);
  const auto s = d->make_stream(stream_role::copy);
  d.reset();
  s->enqueue([x, y](executor& w) {
    w.run(8, [&](std::size_t i, std::size_t) { std::memset(y.data() + i * 1024, 1, 1024); });
    std::memcpy(x.data(), y.data(), x.bytes());
  });
  s->synchronize();
  y = {};
  EXPECT_EQ(std::to_integer<int>(x.data()[4095]), 1);
}

TEST(fault_plan, fails_the_nth_allocation_of_one_arena_only) {
  const auto d = make_test_device(1, fail_allocation(arena_kind::scratch, 2));
  EXPECT_TRUE(d->scratch().allocate(64).ok());
  EXPECT_TRUE(d->memory().allocate(64).ok());
  EXPECT_TRUE(d->memory().allocate(64).ok());
  EXPECT_EQ(d->scratch().allocate(64).code(), errc::over_budget);
  EXPECT_TRUE(d->scratch().allocate(64).ok());
}

TEST(fault_plan, fails_the_nth_task_of_a_stream_without_running_it) {
  const auto d = make_test_device(1, fail_task(stream_role::codec, 2));
  const auto codec = d->make_stream(stream_role::codec);
  const auto compute = d->make_stream(stream_role::compute);
  std::vector<int> seen;
  for (int i = 1; i <= 3; ++i) {
    codec->enqueue([&, i](executor&) { seen.push_back(i); },
                   [&, i](const result<void>& x) {
                     if (x.code() == errc::internal)
                       seen.push_back(-i);
                   });
    codec->synchronize();
    compute->enqueue([&](executor&) { seen.push_back(0); });
    compute->synchronize();
  }
  EXPECT_EQ(seen, (std::vector<int>{1, 0, -2, 0, 3, 0}));
}

/// One client of the device: chains of tasks over two streams, each of which adds to every number
/// of a page in parallel parts; blocks travel by name.
class client {
public:
  client(device& d, unsigned seed)
      : d_(d), random_(seed), a_(d.make_stream(stream_role::compute)),
        b_(d.make_stream(stream_role::codec)) {}

  /// Pages whose numbers were wrong at the end of their chain.
  int run() {
    for (int i = 0; i < 150; ++i)
      chain(1 + static_cast<int>(random_() % 6));
    a_->synchronize();
    b_->synchronize();
    return wrong_.load();
  }

private:
  static constexpr std::size_t numbers = 512;

  static void add(executor& w, std::byte* page, int x) {
    auto* n = reinterpret_cast<int*>(page);
    w.run(4, [&](std::size_t part, std::size_t) {
      for (std::size_t i = part * numbers / 4; i < (part + 1) * numbers / 4; ++i)
        n[i] += x;
    });
  }

  void chain(int steps) {
    auto page = d_.memory().allocate(numbers * sizeof(int));
    if (!page)
      return; // over budget: the other clients hold it all
    std::memset(page->data(), 0, page->bytes());
    for (int i = 0; i < steps; ++i) {
      stream& s = i % 2 == 0 ? *a_ : *b_;
      s.wait(last_);
      s.enqueue([x = *d_.memory().share(page->ref())](executor& w) { add(w, x.data(), 1); });
      last_ = s.record();
    }
    a_->wait(last_);
    a_->enqueue([this, x = std::move(*page), steps](executor&) {
      const auto* n = reinterpret_cast<const int*>(x.data());
      wrong_ += std::any_of(n, n + numbers, [&](int v) { return v != steps; });
    });
    last_ = a_->record();
  }

  device& d_;
  std::mt19937 random_;
  std::atomic<int> wrong_{0};
  event last_;
  std::unique_ptr<stream> a_, b_;
};

TEST(device, computes_right_under_many_clients_streams_and_helpers) {
  for (const int spin_us : {0, 50}) {
    auto d = make_host_device({.memory_bytes = MiB / 2,
                               .scratch_bytes = MiB,
                               .threads = 3,
                               .spin = std::chrono::microseconds(spin_us)});
    ASSERT_TRUE(d.ok());
    std::atomic<int> wrong{0};
    std::vector<std::thread> clients;
    for (unsigned i = 1; i <= 3; ++i)
      clients.emplace_back([&, i] { wrong += client(**d, i).run(); });
    for (auto& x : clients)
      x.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ((*d)->memory().usage().used, 0U);
  }
}

} // namespace
} // namespace pikv::gpu
