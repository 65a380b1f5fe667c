// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <pikv/actors/config_state.hpp>

namespace {

using namespace pikv;

const error refusal{errc::config_value, "no"};
const config_state::applier accept = [](const auto&, auto) -> result<void> { return {}; };
const config_state::applier refuse = [](const auto&, auto) -> result<void> { return refusal; };

config::settings with_share(double x) {
  config::settings s;
  s.fidelity.audit_share = x;
  return s;
}

TEST(config_state, begins_with_version_1_and_what_it_was_given) {
  config_state x{with_share(0.25), "a.yaml"};
  EXPECT_EQ(x.version(), 1U);
  EXPECT_EQ(x.settings().fidelity.audit_share, 0.25);
  EXPECT_EQ(x.file(), "a.yaml");
}

TEST(config_state, what_is_taken_is_in_force_under_the_next_version) {
  config_state x{{}, ""};
  std::uint64_t told = 0;
  auto r = x.take(with_share(0.5), [&](const auto&, std::uint64_t v) -> result<void> {
    told = v;
    return {};
  });
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(*r, 2U);
  EXPECT_EQ(told, 2U);
  EXPECT_EQ(x.version(), 2U);
  EXPECT_EQ(x.settings().fidelity.audit_share, 0.5);
}

TEST(config_state, what_the_policies_refuse_changes_nothing) {
  config_state x{{}, ""};
  EXPECT_EQ(x.take(with_share(0.5), refuse).code(), errc::config_value);
  EXPECT_EQ(x.version(), 1U);
  EXPECT_EQ(x.settings().fidelity.audit_share, config::settings{}.fidelity.audit_share);
}

TEST(config_state, a_restart_key_is_refused_before_anything_is_applied) {
  config_state x{{}, ""};
  config::settings next;
  next.cache.window = 256;
  bool applied = false;
  auto r = x.take(next, [&](const auto&, auto) -> result<void> {
    applied = true;
    return {};
  });
  EXPECT_EQ(r.code(), errc::config_restart);
  EXPECT_NE(r.error().what.find("cache.window"), std::string::npos);
  EXPECT_FALSE(applied);
}

TEST(config_state, a_refusal_uses_up_no_version) {
  config_state x{{}, ""};
  (void)x.take(with_share(0.5), refuse);
  EXPECT_EQ(*x.take(with_share(0.5), accept), 2U);
}

TEST(config_state, answers_the_one_who_waits_once) {
  config_state x{{}, ""};
  auto a = std::make_shared<detail::completion_state<std::uint64_t>>();
  auto b = std::make_shared<detail::completion_state<std::uint64_t>>();
  const auto ticket = x.wait_for(a);
  const auto other = x.wait_for(b);
  EXPECT_NE(ticket, other);
  x.answer(ticket, std::uint64_t{7});
  x.answer(ticket, refusal);
  ASSERT_TRUE(a->ready());
  EXPECT_EQ(*a->get(), 7U);
  EXPECT_FALSE(b->ready());
}

TEST(config_state, a_ticket_is_never_zero) {
  config_state x{{}, ""};
  auto a = std::make_shared<detail::completion_state<std::uint64_t>>();
  EXPECT_NE(x.wait_for(a).value, 0U);
}

TEST(config_state, everyone_who_waits_hears_of_the_end) {
  config_state x{{}, ""};
  auto a = std::make_shared<detail::completion_state<std::uint64_t>>();
  x.wait_for(a);
  x.answer_all({errc::cancelled, "stopped"});
  ASSERT_TRUE(a->ready());
  EXPECT_EQ(a->get().code(), errc::cancelled);
}

} // namespace
