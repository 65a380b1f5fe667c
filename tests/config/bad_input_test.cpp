// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include "support.hpp"

namespace pikv::config::testing {
namespace {

struct bad_input {
  const char* name;
  const char* text;
  errc code;
  const char* where; ///< line:column
  const char* key;   ///< dotted; empty: none
  const char* says;  ///< part of the message
};

class bad_inputs : public ::testing::TestWithParam<bad_input> {};

TEST_P(bad_inputs, are_refused_with_position_key_and_hint) {
  const auto& row = GetParam();
  const auto x = read(row.text);
  ASSERT_FALSE(x.ok());
  EXPECT_EQ(to_string(x.code()), to_string(row.code)) << x.error().what;
  const std::string key{row.key};
  const auto begin = fmt::format("t.yaml:{}: {}{}", row.where, key, key.empty() ? "" : ": ");
  EXPECT_TRUE(x.error().what.starts_with(begin)) << x.error().what << "\nexpected: " << begin;
  EXPECT_NE(x.error().what.find(row.says), std::string::npos) << x.error().what;
}

constexpr auto syntax = errc::config_syntax;
constexpr auto key = errc::config_key;
constexpr auto value = errc::config_value;

const bad_input rows[] = {
    // policies that cannot run live, and ghosts
    {"offline_policy", "scheduling:\n  policy: belady\n", value, "2:11", "scheduling.policy",
     "offline only; use `pikv replay`"},
    {"ghost_unknown", "ghosts: {policies: [lru, quets]}\n", value, "1:20", "ghosts.policies",
     "did you mean \"quest\""},
    {"ghost_offline", "ghosts: {policies: belady}\n", value, "1:20", "ghosts.policies",
     "offline only"},
    {"ghost_twice", "ghosts: {policies: \"lru, h2o, lru\"}\n", value, "1:20", "ghosts.policies",
     "twice"},
    {"ghost_map", "ghosts: {policies: [lru, {a: b}]}\n", value, "1:26", "ghosts.policies",
     "where a name is expected"},
    // YAML itself
    {"open_map", "cache: {shards: 3\nlimits: {}\n", syntax, "2:7", "", "map"},
    {"tab_indent", "cache:\n\tshards: 3\n", syntax, "2:1", "", "use spaces"},
    {"open_quote", "metrics: {address: \"x\n", syntax, "2:1", "", ""},
    {"two_documents", "cache: {}\n---\nlimits: {}\n", syntax, "2:1", "", "second document"},
    {"alias", "cache: &a {}\nlimits: *a\n", syntax, "2:9", "", "aliases"},
    {"unknown_alias", "limits: *a\n", syntax, "1:9", "", ""},
    {"tag", "cache: {shards: !!int 3}\n", syntax, "1:17", "", "tags"},
    {"control_character", "cache: {}\n# \x01\n", syntax, "2:3", "", "0x01"},
    {"bad_indent", "cache:\n    shards: 3\n  sinks: 1\n", syntax, "3:3", "", ""},
    // keys
    {"section", "routng: {policy: all}\n", key, "1:1", "routng", "did you mean \"routing\"?"},
    {"section_far", "zzzzzzzzzz: 1\n", key, "1:1", "zzzzzzzzzz", "Allowed: runtime, devices"},
    {"misplaced", "memory: 1GiB\n", key, "1:1", "memory", "did you mean \"devices.memory\"?"},
    {"field", "cache:\n  sinks: 4\n  shard: 3\n", key, "3:3", "cache.shard", "\"shards\""},
    {"field_name", "devices: {memory_bytes: 1}", key, "1:11", "devices.memory_bytes",
     "Allowed: backend, count, threads, memory, scratch"},
    {"merge_key", "cache: {<<: {sinks: 1}}\n", key, "1:9", "cache.<<", "no such key"},
    {"duplicate_section", "cache: {}\nlimits: {}\ncache: {}\n", key, "3:1", "cache",
     "twice; first at line 1"},
    {"duplicate_field", "cache:\n  sinks: 4\n  sinks: 4\n", key, "3:3", "cache.sinks",
     "twice; first at line 2"},
    {"duplicate_policy", "routing: {policy: all, policy: all}\n", key, "1:24", "routing.policy",
     "twice"},
    {"duplicate_option", "routing: {policy: mass, k: 1, k: 2}\n", key, "1:31", "routing.k",
     "twice"},
    {"option", "selection: {policy: mass, shar: 0.5}\n", key, "1:27", "selection.shar",
     "did you mean \"share\"?"},
    {"option_of_another_policy", "selection: {share: 0.5}\n", key, "1:13", "selection.share",
     "mass, quest"},
    {"list_as_key", "? [a]\n: 1\n", key, "1:3", "(file)", "a list is not a key"},
    {"map_as_key", "cache: {{a: 1}: 2}\n", key, "1:9", "cache", "a map is not a key"},
    // shapes
    {"scalar_file", "hello\n", value, "1:1", "(file)", "\"hello\""},
    {"list_file", "- cache\n", value, "1:1", "(file)", "a list"},
    {"scalar_section", "cache: 5\n", value, "1:8", "cache", "\"5\" stands where keys"},
    {"list_section", "cache: [1]\n", value, "1:8", "cache", "a list"},
    {"policy_as_section", "selection: mass\n", value, "1:12", "selection", "\"policy:\""},
    {"map_value", "cache: {sinks: {a: 1}}\n", value, "1:16", "cache.sinks", "a map"},
    {"list_value", "cache:\n  sinks: [1]\n", value, "2:10", "cache.sinks", "a list"},
    {"no_value", "cache:\n  sinks:\n  window: 64\n", value, "2:3", "cache.sinks", "nothing"},
    {"null_value", "cache: {sinks: ~}\n", value, "1:9", "cache.sinks", "nothing"},
    // types
    {"not_an_integer", "cache: {sinks: four}\n", value, "1:16", "cache.sinks",
     "\"four\" is not an integer"},
    {"fraction", "cache: {sinks: 1.5}\n", value, "1:16", "cache.sinks", "\"1.5\""},
    {"hexadecimal", "cache: {sinks: 0x10}\n", value, "1:16", "cache.sinks", "\"0x10\""},
    {"empty_integer", "cache: {sinks: ''}\n", value, "1:16", "cache.sinks", "\"\""},
    {"not_a_boolean", "metrics: {enabled: yes}\n", value, "1:20", "metrics.enabled",
     "allowed: true or false"},
    {"not_a_real", "fidelity: {audit_share: much}\n", value, "1:25", "fidelity.audit_share",
     "is not a real number; allowed: from 0 to 1"},
    {"nan", "fidelity: {audit_share: .nan}\n", value, "1:25", "fidelity.audit_share", "\".nan\""},
    {"inf", "fidelity: {audit_share: .inf}\n", value, "1:25", "fidelity.audit_share", "\".inf\""},
    {"plain_nan", "fidelity: {audit_share: nan}\n", value, "1:25", "fidelity.audit_share",
     "nan is not a finite number"},
    {"plain_inf", "budget: {share: inf}\n", value, "1:17", "budget.share",
     "inf is not a finite number"},
    // ranges
    {"page_tokens", "cache: {page_tokens: 24}\n", value, "1:22", "cache.page_tokens",
     "Allowed: 8, 16, 32, 64"},
    {"no_devices", "devices: {count: 0}\n", value, "1:18", "devices.count",
     "0 is out of range; allowed: from 1 to 64"},
    {"many_devices", "devices: {count: 65}\n", value, "1:18", "devices.count", "from 1 to 64"},
    {"no_shards", "cache: {shards: 0}\n", value, "1:17", "cache.shards", "from 1 to 4096"},
    {"many_shards", "cache: {shards: 4097}\n", value, "1:17", "cache.shards", "from 1 to 4096"},
    {"negative", "cache: {sinks: -1}\n", value, "1:16", "cache.sinks", "-1 is out of range"},
    {"overflow", "cache: {sinks: 99999999999999999999}\n", value, "1:16", "cache.sinks",
     "out of range"},
    {"port", "metrics:\n  port: 65536\n", value, "2:9", "metrics.port", "from 0 to 65535"},
    {"audit_share", "fidelity: {audit_share: 1.01}\n", value, "1:25", "fidelity.audit_share",
     "1.01 is out of range; allowed: from 0 to 1"},
    {"real_overflow", "fidelity: {audit_share: 1e999}\n", value, "1:25", "fidelity.audit_share",
     "out of range"},
    {"zero_share", "selection: {policy: quest, share: 0}\n", value, "1:35", "selection.share",
     "0 is out of range"},
    {"option_range", "routing: {policy: mass, k: 0}\n", value, "1:28", "routing.k",
     "from 1 to 65536"},
    // names
    {"backend", "devices: {backend: cdua}\n", value, "1:20", "devices.backend",
     "did you mean \"cuda\"? Allowed: host, cuda"},
    {"dtype", "cache: {dtype: fp16}\n", value, "1:16", "cache.dtype", "did you mean \"f16\"?"},
    {"latency", "runtime: {latency: Low}\n", value, "1:20", "runtime.latency",
     "did you mean \"low\"? Allowed: low, balanced, idle"},
    {"policy", "selection: {policy: quets}\n", value, "1:21", "selection.policy",
     "did you mean \"quest\"? Allowed: all, mass, quest"},
    {"policy_list", "selection: {policy: [mass]}\n", value, "1:21", "selection.policy", "a list"},
    {"choice", "selection:\n  policy: mass\n  heads: each\n", value, "3:10", "selection.heads",
     "Allowed: shared, per_kv_head"},
    {"address", "metrics: {address: 'a b'}\n", value, "1:20", "metrics.address", "not an address"},
    {"no_address", "metrics: {address: ''}\n", value, "1:20", "metrics.address", "not an address"},
    // quantities
    {"size_unit", "devices: {memory: 8gib}\n", value, "1:19", "devices.memory",
     "no known unit; units: B, KB, KiB"},
    {"size_word", "devices: {memory: big}\n", value, "1:19", "devices.memory",
     "\"big\" is not a size in bytes; allowed: from 1MiB"},
    {"small_size", "devices: {memory: 4KiB}\n", value, "1:19", "devices.memory",
     "4KiB is out of range; allowed: from 1MiB"},
    {"large_size", "devices: {memory: 99999999999999TiB}\n", value, "1:19", "devices.memory",
     "too large"},
    {"part_of_a_byte", "devices: {memory: 0.3B}\n", value, "1:19", "devices.memory",
     "not a whole number of bytes"},
    {"no_time_unit", "limits: {deadline: 30}\n", value, "1:20", "limits.deadline",
     "has no unit; units: ns, us, ms, s, min"},
    {"negative_time", "limits: {deadline: -5ms}\n", value, "1:20", "limits.deadline",
     "is not a duration"},
    {"no_time", "limits: {deadline: 0}\n", value, "1:20", "limits.deadline", "0s is out of range"},
    // between keys
    {"window_below_a_page", "cache:\n  window: 8\n", value, "2:11", "cache.window",
     "8 is less than a page of 16 tokens"},
    {"nccl_on_the_host", "transfer:\n  path: nccl\n", value, "2:9", "transfer.path",
     "nccl moves pages between GPUs only, not on backend \"host\""},
    {"host_under_nccl", "devices: {backend: host}\ntransfer: {path: nccl}\n", value, "2:18",
     "transfer.path", "devices.backend cuda"},
    {"unknown_path", "transfer:\n  path: tcp\n", value, "2:9", "transfer.path", "auto, peer, nccl"},
    {"page_above_the_window", "cache:\n  window: 32\n  page_tokens: 64\n", value, "2:11",
     "cache.window", "32 is less than a page of 64 tokens"},
};

INSTANTIATE_TEST_SUITE_P(each, bad_inputs, ::testing::ValuesIn(rows),
                         [](const auto& x) { return std::string{x.param.name}; });

TEST(bad_input, of_a_mebibyte_is_refused) {
  const auto x = read(std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(x.code(), errc::config_syntax);
}

TEST(bad_input, of_deep_nesting_is_refused) {
  for (const char* open : {"[", "{a: ", "- ", "a:\n "}) {
    std::string text = "cache: ";
    for (int i = 0; i < 20000; ++i)
      text += open;
    EXPECT_FALSE(read(text).ok());
  }
}

TEST(bad_input, of_great_length_is_not_repeated_in_the_message) {
  const auto x = read("cache: {sinks: " + std::string(10000, 'x') + "}");
  ASSERT_FALSE(x.ok());
  EXPECT_LT(x.error().what.size(), 300u);
  const auto y = read(std::string(900, 'k') + ": 1");
  ASSERT_FALSE(y.ok());
  EXPECT_LT(y.error().what.size(), 400u);
}

} // namespace
} // namespace pikv::config::testing
