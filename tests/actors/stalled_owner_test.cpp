// SPDX-License-Identifier: Apache-2.0
// A device that does not answer: requests end by their deadlines, and the router lets go of what
// waited for it, so that other sequences go on.
#include <future>
#include <map>
#include <optional>
#include <utility>

#include <caf/send.hpp>

#include "actors/fault_client.hpp"
#include <pikv/actors/cache_access.hpp>
#include <pikv/actors/runtime.hpp>

namespace {

using namespace pikv;
using namespace pikv::test;

class stalled_owner : public ::testing::Test {
protected:
  void SetUp() override {
    auto s = fault_settings();
    s.devices.count = 2;
    s.runtime.lanes = 1;
    running.emplace(*runtime::start(s));
    kv.emplace(*running->open(f));
    while (on_device.size() < 2) {
      const auto id = *kv->open();
      on_device[context().home_of(id).value] = id;
    }
    ASSERT_EQ(append({{on_device[0], 0, 5}, {on_device[1], 0, 5}}, 10s), errc::ok);
  }
  void TearDown() override { go.set_value(); }

  cache_context& context() { return cache_access::context(*kv); }

  void stall(std::uint32_t device) {
    context().devices[device].compute->enqueue([until = stalled](gpu::executor&) { until.wait(); });
  }
  void tick() { caf::anon_send(context().routers.get(0).handle, tick_atom_v); }

  /// The deadline of appends is the configuration's.
  errc append(const std::vector<batch_part>& parts, std::chrono::nanoseconds deadline) {
    auto s = running->settings();
    s.limits.deadline = deadline;
    EXPECT_TRUE(running->reload(s).wait().ok());
    std::uint32_t rows = 0;
    for (const auto& p : parts)
      rows += p.tokens;
    const std::vector<float> x(std::size_t{rows} * f.kv_heads * f.head_dim, 0.5F);
    const auto t = nhd(x, rows, f.kv_heads, f.head_dim);
    return kv->append(0, parts, t, t).wait().code();
  }

  errc attend(sequence_id x, std::uint32_t position, std::chrono::nanoseconds deadline) {
    std::vector<float> q(f.query_heads * f.head_dim, 1.0F), out(q.size());
    const batch_part last{x, position, 1};
    attend_options o;
    o.deadline = deadline;
    return kv
        ->attend(0, {&last, 1}, nhd(std::as_const(q), 1, f.query_heads, f.head_dim),
                 nhd(out, 1, f.query_heads, f.head_dim), o)
        .wait()
        .code();
  }

  static constexpr model_shape f = fault_shape;
  std::promise<void> go;
  std::shared_future<void> stalled = go.get_future().share();
  std::optional<runtime> running;
  std::optional<cache> kv;
  std::map<std::uint32_t, sequence_id> on_device;
};

TEST_F(stalled_owner, a_batch_over_devices_ends_and_frees_the_parts_on_the_others) {
  stall(1);
  EXPECT_EQ(append({{on_device[0], 5, 3}, {on_device[1], 5, 3}}, 50ms), errc::deadline_exceeded);
  EXPECT_EQ(attend(on_device[0], 4, 50ms), errc::deadline_exceeded) << "it should still be fenced";
  tick();
  EXPECT_EQ(attend(on_device[0], 4, 10s), errc::ok);
  EXPECT_EQ(attend(on_device[0], 7, 10s), errc::position_gap) << "its part was not taken back";
  EXPECT_EQ(append({{on_device[0], 5, 3}}, 10s), errc::ok);
  EXPECT_EQ(attend(on_device[1], 4, 10s), errc::sequence_lost) << "nobody knows what it holds";
}

TEST_F(stalled_owner, an_attend_ends_and_works_again_afterwards) {
  stall(1);
  EXPECT_EQ(attend(on_device[1], 4, 50ms), errc::deadline_exceeded);
  tick();
  EXPECT_EQ(attend(on_device[0], 4, 10s), errc::ok);
  go.set_value();
  go = {};
  EXPECT_EQ(attend(on_device[1], 4, 10s), errc::ok);
}

/// As when a router of the lane went down between two messages.
TEST_F(stalled_owner, a_sequence_that_its_owner_has_dropped_is_lost) {
  caf::anon_send(context().owners.get(1).handle, drop_lane_atom_v, lane_id{0});
  EXPECT_EQ(attend(on_device[1], 4, 10s), errc::sequence_lost);
  EXPECT_EQ(append({{on_device[1], 5, 3}}, 10s), errc::sequence_lost);
  EXPECT_EQ(attend(on_device[0], 4, 10s), errc::ok);
}

/// As when the page's owner went down in the middle of the move.
TEST_F(stalled_owner, a_page_that_arrives_after_its_sequence_was_closed_goes) {
  auto& memory = context().devices[1].device->memory();
  for (const auto& [device, id] : on_device)
    ASSERT_TRUE(kv->close(id).wait().ok());
  ASSERT_EQ(memory.usage().used, 0U);
  auto page = memory.allocate(gpu::layout_of(context().dims, context().raw).page_bytes);
  ASSERT_TRUE(page.ok());
  page_record_ref late;
  late.sequence = on_device[0];
  late.tokens = context().dims.page_tokens;
  late.stored = context().raw;
  late.data = page->ref();
  caf::anon_send(context().owners.get(1).handle, adopt_work{{late}});
  EXPECT_TRUE(kv->usage().wait().ok()); // behind it in the owner's mailbox
  *page = {};
  EXPECT_EQ(memory.usage().used, 0U);
}

} // namespace
