// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <pikv/actors/page_table.hpp>

namespace {

using namespace pikv;

void add_page(leased_table& t, std::uint32_t first) {
  auto& table = t.write();
  gpu::page_view view{};
  view.first_position = first;
  view.tokens = 8;
  table.views.push_back(view);
  table.memory.push_back({{}, {}, first / 8});
}

TEST(page_table, changes_in_place_when_nobody_leases_it) {
  leased_table t;
  add_page(t, 0);
  const auto* before = &t.read();
  add_page(t, 8);
  EXPECT_EQ(&t.read(), before);
  EXPECT_EQ(t.read().views.size(), 2U);
}

TEST(page_table, a_lease_does_not_see_later_changes) {
  leased_table t;
  add_page(t, 0);
  auto lease = t.lease();
  add_page(t, 8);
  t.write().views[0].tokens = 1;
  ASSERT_EQ(lease.views().size(), 1U);
  EXPECT_EQ(lease.views()[0].tokens, 8);
  EXPECT_EQ(t.read().views.size(), 2U);
}

TEST(page_table, the_views_of_a_lease_stay_where_they_are) {
  leased_table t;
  add_page(t, 0);
  auto lease = t.lease();
  const auto* where = lease.views().data();
  for (std::uint32_t i = 1; i < 100; ++i)
    add_page(t, 8 * i);
  EXPECT_EQ(lease.views().data(), where);
}

TEST(page_table, is_copied_once_for_several_changes_under_one_lease) {
  leased_table t;
  auto lease = t.lease();
  add_page(t, 0);
  const auto* copy = &t.read();
  add_page(t, 8);
  EXPECT_EQ(&t.read(), copy);
}

TEST(page_table, a_dropped_lease_allows_changes_in_place_again) {
  leased_table t;
  const auto* before = &t.read();
  { auto lease = t.lease(); }
  add_page(t, 0);
  EXPECT_EQ(&t.read(), before);
}

TEST(page_table, a_lease_outlives_the_table) {
  table_lease lease;
  {
    leased_table t;
    add_page(t, 16);
    lease = t.lease();
  }
  ASSERT_EQ(lease.views().size(), 1U);
  EXPECT_EQ(lease.views()[0].first_position, 16U);
}

TEST(page_table, a_lease_that_moves_counts_once) {
  leased_table t;
  auto a = t.lease();
  auto b = std::move(a);
  EXPECT_EQ(t.read().leases.load(), 1U);
  b = table_lease{};
  EXPECT_EQ(t.read().leases.load(), 0U);
}

TEST(page_table, a_lease_keeps_the_memory_of_its_pages) {
  gpu::device_options o;
  o.memory_bytes = std::size_t{1} << 20;
  auto device = gpu::make_device("host", o);
  ASSERT_TRUE(device.ok());
  auto& arena = (*device)->memory();
  leased_table t;
  {
    auto block = arena.allocate(4096);
    ASSERT_TRUE(block.ok());
    add_page(t, 0);
    t.write().memory[0].data = std::move(*block);
  }
  auto lease = t.lease();
  t.write().memory.clear();
  EXPECT_GT(arena.usage().used, 0U);
  lease = table_lease{};
  EXPECT_EQ(arena.usage().used, 0U);
}

TEST(page_table, an_empty_lease_has_no_views) {
  table_lease lease;
  EXPECT_TRUE(lease.views().empty());
}

} // namespace
