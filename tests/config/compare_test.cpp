// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include <pikv/config/schema.hpp>

#include "support.hpp"

namespace pikv::config::testing {
namespace {

using keys = std::vector<std::string>;

TEST(changed_keys, are_none_between_equals) {
  EXPECT_TRUE(changed_keys(settings{}, settings{}).empty());
}

TEST(changed_keys, are_dotted_and_in_the_order_of_the_schema) {
  const auto next = must_read("limits: {deadline: 1s}\ncache: {shards: 3}\n"
                              "selection: {policy: mass, share: 0.5}\n");
  EXPECT_EQ(changed_keys(settings{}, next),
            (keys{"cache.shards", "selection.policy", "selection.share", "limits.deadline"}));
}

TEST(changes, show_values_with_their_defaults_and_when_they_hold) {
  settings before, after;
  before.selection = {"mass", {}};
  after.selection = before.selection;
  after.selection.options.set("share", 0.5);
  after.cache.page_tokens = 32;
  const auto x = changes(before, after, all_policies());
  ASSERT_EQ(x.size(), 2U);
  EXPECT_EQ(x[0].key, "cache.page_tokens");
  EXPECT_EQ(x[0].before, "16");
  EXPECT_EQ(x[0].after, "32");
  EXPECT_TRUE(x[0].restart);
  EXPECT_EQ(x[1].key, "selection.share");
  EXPECT_NE(x[1].before, "none"); // the policy's default
  EXPECT_NE(x[1].before, "0.5");
  EXPECT_EQ(x[1].after, "0.5");
  EXPECT_FALSE(x[1].restart);
}

TEST(changed_keys, see_an_option_go) {
  const auto before = must_read("selection: {policy: mass, share: 0.5}");
  const auto after = must_read("selection: {policy: mass}");
  EXPECT_EQ(changed_keys(before, after), (keys{"selection.share"}));
}

TEST(changed_keys, see_every_key_of_the_schema) {
  for (const auto& part : sections())
    for (const auto& key : part.keys) {
      settings next;
      auto other = key.spec.fallback;
      if (auto* b = std::get_if<bool>(&other))
        *b = !*b;
      else if (auto* i = std::get_if<std::int64_t>(&other))
        *i += 1;
      else if (auto* d = std::get_if<double>(&other))
        *d += 0.5;
      else
        other = key.spec.choices.empty() ? "other"
                : key.spec.choices.front() == std::get<std::string>(other)
                    ? key.spec.choices.back()
                    : key.spec.choices.front();
      key.set(next, other);
      EXPECT_EQ(changed_keys(settings{}, next), (keys{key.spec.name}));
    }
}

TEST(changed_keys, take_a_whole_number_for_the_same_real) {
  settings a;
  settings b;
  a.budget.options.set("share", std::int64_t{1});
  b.budget.options.set("share", 1.0);
  EXPECT_TRUE(changed_keys(a, b).empty());
}

TEST(check_reload, takes_live_keys) {
  const auto next = must_read("placement: {policy: gate}\nrouting: {policy: mass}\n"
                              "selection: {policy: quest}\ncompression: {policy: int8}\n"
                              "budget: {tokens: 9}\nscheduling: {policy: h2o}\n"
                              "limits: {max_in_flight: 1, max_sequences: 1, deadline: 1s, "
                              "when_full: refuse}\n"
                              "fidelity: {audit_share: 0.5}\n");
  EXPECT_TRUE(check_reload(settings{}, next).ok());
}

TEST(check_reload, refuses_each_section_that_needs_a_restart) {
  for (const auto* text : {"runtime: {lanes: 2}", "devices: {count: 2}", "transfer: {path: peer}",
                           "cache: {sinks: 1}", "metrics: {port: 1}"})
    EXPECT_EQ(check_reload(settings{}, must_read(text)).code(), errc::config_restart) << text;
}

TEST(check_reload, names_all_keys_that_need_a_restart_and_no_others) {
  const auto next = must_read("devices: {count: 2}\ncache: {shards: 3, sinks: 1}\n"
                              "limits: {deadline: 1s}\nmetrics: {port: 1}\n");
  EXPECT_EQ(check_reload(settings{}, next).error().what,
            "can only change at a restart: devices.count, cache.sinks, cache.shards, metrics.port");
}

TEST(validate, names_the_key_of_a_bad_field) {
  settings x;
  x.devices.count = 65;
  const auto r = validate(x, all_policies());
  ASSERT_EQ(r.code(), errc::config_value);
  EXPECT_EQ(r.error().what, "devices.count: 65 is out of range; allowed: from 1 to 64");
}

TEST(validate, refuses_what_is_not_finite) {
  settings x;
  x.fidelity.audit_share = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(validate(x, all_policies()).code(), errc::config_value);
}

TEST(validate, refuses_unknown_policies_options_and_values) {
  settings x;
  x.routing.name = "mas";
  EXPECT_EQ(validate(x, all_policies()).error().what,
            "routing.policy: \"mas\" is not allowed; did you mean \"mass\"? "
            "Allowed: all, gate_top_k, mass, adaptive, hybrid, balanced, cache_aware, "
            "hierarchical, eplb");
  x.routing = {"mass", {}};
  x.routing.options.set("k", std::int64_t{0});
  EXPECT_EQ(validate(x, all_policies()).error().what,
            "routing.k: 0 is out of range; allowed: from 1 to 65536");
  x.routing = {"mass", {}};
  x.routing.options.set("q", std::int64_t{0});
  EXPECT_EQ(validate(x, all_policies()).code(), errc::config_value);
  x.routing = {"mass", {}};
  x.routing.options.set("k", true);
  EXPECT_EQ(validate(x, all_policies()).error().what,
            "routing.k: true has the wrong type; allowed: from 1 to 65536");
}

TEST(validate, refuses_conflicts_between_keys) {
  settings x;
  x.cache.page_tokens = 64;
  x.cache.window = 63;
  EXPECT_EQ(validate(x, all_policies()).code(), errc::config_value);
}

TEST(validate, refuses_sizes_beyond_a_signed_number) {
  settings x;
  x.devices.memory_bytes = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(validate(x, all_policies()).code(), errc::config_value);
}

} // namespace
} // namespace pikv::config::testing
