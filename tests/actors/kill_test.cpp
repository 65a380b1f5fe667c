// SPDX-License-Identifier: Apache-2.0
// Actors die at random points while engines work; what is checked is written in fault_engine.hpp.
#include <cstdio>
#include <fstream>

#include <caf/actor_cast.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>

#include "actors/fault_engine.hpp"
#include <pikv/actors/cache_access.hpp>
#include <pikv/actors/runtime.hpp>

namespace {

using namespace pikv;
using namespace pikv::test;

constexpr int kills_per_phase = 50;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

struct phase {
  std::uint32_t lanes, devices;
  const char* compression;
  double tolerance;
  std::uint32_t budget_tokens;
  const char* scheduling;
  config::settle_granularity granularity = config::settle_granularity::page;
  const char* placement = "stripe";
};

constexpr phase phases[] = {
    {1, 1, "identity", 1e-4, 0, "lru"},
    {2, 3, "int8", 0.02, 0, "lru"},
    {2, 2, "int4", 0.2, 64, "lru"},
    {1, 3, "int8", 0.02, 64, "h2o"},
};
constexpr phase entry_phases[] = {
    {2, 3, "identity", 1e-4, 0, "lru", config::settle_granularity::entry, "gate"},
    {1, 2, "int8", 0.02, 64, "h2o", config::settle_granularity::entry, "hash"},
};

config::settings settings_of(const phase& p) {
  auto s = fault_settings();
  s.runtime.lanes = p.lanes;
  s.devices.count = p.devices;
  s.compression = {p.compression, {}};
  s.scheduling = {p.scheduling, {}};
  s.cache.granularity = p.granularity;
  s.placement = {p.placement, {}};
  s.budget.options.set("tokens", std::int64_t{p.budget_tokens});
  return s;
}

/// Kills one actor of a directory in one of three ways and waits until it has been replaced.
template <class Handle>
void kill_one(directory<Handle>& d, std::mt19937& random) {
  const auto i = random() % d.size();
  const auto before = d.get(i);
  switch (random() % 3) {
  case 0: caf::anon_send(before.handle, crash_atom_v); break;
  case 1: caf::anon_send_exit(before.handle, caf::exit_reason::user_shutdown); break;
  default: caf::anon_send_exit(before.handle, caf::exit_reason::kill); break;
  }
  ASSERT_TRUE(eventually([&] { return d.get(i).incarnation != before.incarnation; }, 10s))
      << "the actor was not restarted";
}

std::uint64_t resident_bytes() {
  std::ifstream f{"/proc/self/statm"};
  std::uint64_t size = 0, resident = 0;
  f >> size >> resident;
  return resident * 4096;
}

/// New sequences, enough for every lane and home device, work as if nothing had happened.
void expect_works(cache& c, const phase& p) {
  tally t;
  engine_options o;
  o.tolerance = p.tolerance;
  for (std::uint32_t i = 0; i < p.lanes * p.devices; ++i) {
    fault_engine e{c, 1000 + i, o, t};
    for (int n = 0; n < 6; ++n)
      e.step();
    e.run(std::stop_token{[] {
      std::stop_source s;
      s.request_stop();
      return s.get_token();
    }()});
  }
  EXPECT_EQ(t.of(request_kind::attend, errc::ok), std::uint64_t{p.lanes} * p.devices * 12)
      << t.text();
}

void expect_empty(runtime& r, cache& c) {
  EXPECT_TRUE(eventually([&] { return r.status().in_flight == 0; }, 15s));
  EXPECT_EQ(r.status().sequences, 0U) << "sequences that are gone still count as open";
  auto reserved = [&] {
    std::uint64_t n = 0;
    for (const auto& d : cache_access::context(c).devices)
      n += d.device->memory().usage().reserved + d.device->scratch().usage().used;
    return n;
  };
  EXPECT_TRUE(eventually([&] { return reserved() == 0; }, 5s))
      << reserved() << " bytes are held although all sequences were closed";
}

template <class Pick>
void run_phase(const phase& p, std::uint32_t seed, tally& t, Pick&& pick) {
  auto r = runtime::start(settings_of(p));
  ASSERT_TRUE(r.ok()) << r.error().what;
  auto c = r->open(fault_shape);
  ASSERT_TRUE(c.ok()) << c.error().what;
  auto& context = cache_access::context(*c);
  engine_options o;
  o.tolerance = p.tolerance;
  std::mt19937 random{seed};
  {
    std::vector<std::unique_ptr<fault_engine>> engines;
    std::vector<std::jthread> threads;
    for (std::uint32_t i = 0; i < 3; ++i) {
      auto& e = engines.emplace_back(std::make_unique<fault_engine>(*c, seed + i, o, t));
      threads.emplace_back([x = e.get()](const std::stop_token& stop) { x->run(stop); });
    }
    for (int i = 0; i < kills_per_phase; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds{random() % 12'000});
      ASSERT_NO_FATAL_FAILURE(kill_one(pick(context), random));
    }
  }
  EXPECT_EQ(r->status().actor_restarts, static_cast<std::uint64_t>(kills_per_phase));
  expect_works(*c, p);
  expect_empty(*r, *c);
}

/// 200 kills of one kind of actor, a quarter of them in each phase.
template <class Pick>
void run_kills(const char* name, std::uint32_t seed, Pick&& pick) {
  tally t;
  std::uint64_t resident[std::size(phases)] = {};
  for (std::size_t i = 0; i < std::size(phases); ++i) {
    ASSERT_NO_FATAL_FAILURE(
        run_phase(phases[i], seed + static_cast<std::uint32_t>(i) * 10, t, pick))
        << "phase " << i;
    resident[i] = resident_bytes();
  }
  std::printf("%s: %d kills; %s\n", name, kills_per_phase * static_cast<int>(std::size(phases)),
              t.text().c_str());
  EXPECT_GT(t.of(request_kind::attend, errc::ok), 200U) << "too little ran to say anything";
  EXPECT_EQ(t.of(errc::deadline_exceeded), 0U) << "somebody waited for an actor that was dead";
  if (!sanitized) { // sanitizers keep freed memory for a while
    EXPECT_LT(resident[3], resident[1] + (std::uint64_t{24} << 20)) << "memory grows";
  }
}

TEST(kill, shard_owners_may_die) {
  run_kills(
      "shard owner", 100, [](cache_context & x) -> auto& { return x.owners; });
}

TEST(kill, compressors_may_die) {
  run_kills(
      "compressor", 200, [](cache_context & x) -> auto& { return x.compressors; });
}

TEST(kill, the_transfer_may_die) {
  run_kills(
      "transfer", 300, [](cache_context & x) -> auto& { return x.transfer; });
}

TEST(kill, the_scheduler_may_die) {
  run_kills(
      "scheduler", 400, [](cache_context & x) -> auto& { return x.scheduler; });
}

TEST(kill, routers_may_die) {
  run_kills(
      "router", 500, [](cache_context & x) -> auto& { return x.routers; });
}

/// Open pages of entries are at home beside the window, sealed ones on the device of their shard.
TEST(kill, owners_and_routers_of_single_entries_may_die) {
  tally t;
  for (const auto& p : entry_phases) {
    ASSERT_NO_FATAL_FAILURE(
        run_phase(p, 600, t, [](cache_context & x) -> auto& { return x.owners; }));
    ASSERT_NO_FATAL_FAILURE(
        run_phase(p, 700, t, [](cache_context & x) -> auto& { return x.routers; }));
  }
  EXPECT_GT(t.of(request_kind::attend, errc::ok), 200U) << t.text();
  EXPECT_EQ(t.of(errc::deadline_exceeded), 0U) << "somebody waited for an actor that was dead";
}

} // namespace
