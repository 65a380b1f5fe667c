// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

namespace pikv::config::testing {
namespace {

using namespace std::chrono_literals;

TEST(parse, empty_texts_give_the_defaults) {
  for (const auto* text : {"", "\n\n", "# nothing\n", "---\n", "~", "{}"})
    EXPECT_TRUE(changed_keys(must_read(text), settings{}).empty()) << text;
}

TEST(parse, empty_sections_keep_the_defaults) {
  EXPECT_TRUE(changed_keys(must_read("cache:\nselection:\nlimits: {}\n"), settings{}).empty());
}

TEST(parse, reads_runtime) {
  const auto x = must_read("runtime: {latency: low, lanes: 3, actor_threads: 2}").runtime;
  EXPECT_EQ(x.latency, latency_profile::low);
  EXPECT_EQ(x.lanes, 3u);
  EXPECT_EQ(x.actor_threads, 2u);
}

TEST(parse, reads_devices) {
  const auto x = must_read("devices:\n  backend: cuda\n  count: 4\n  threads: 2\n"
                           "  memory: 8GiB\n  scratch: 64 MiB\n")
                     .devices;
  EXPECT_EQ(x.backend, "cuda");
  EXPECT_EQ(x.count, 4u);
  EXPECT_EQ(x.threads, 2u);
  EXPECT_EQ(x.memory_bytes, std::uint64_t{8} << 30);
  EXPECT_EQ(x.scratch_bytes, std::uint64_t{64} << 20);
}

TEST(parse, reads_transfer) {
  EXPECT_EQ(must_read("transfer: {path: peer}").transfer.path, move_path::peer);
  EXPECT_EQ(must_read("transfer: {path: auto}").transfer.path, move_path::automatic);
  EXPECT_EQ(must_read("devices: {backend: cuda}\ntransfer: {path: nccl}").transfer.path,
            move_path::nccl);
}

TEST(parse, reads_cache) {
  const auto x = must_read("cache: {page_tokens: 32, dtype: bf16, sinks: 0, window: 64, shards: 7, "
                           "shard_capacity_pages: 100, granularity: entry}")
                     .cache;
  EXPECT_EQ(x.page_tokens, 32u);
  EXPECT_EQ(x.stored, dtype::bf16);
  EXPECT_EQ(x.sinks, 0u);
  EXPECT_EQ(x.window, 64u);
  EXPECT_EQ(x.shards, 7u);
  EXPECT_EQ(x.shard_capacity_pages, 100u);
  EXPECT_EQ(x.granularity, settle_granularity::entry);
  EXPECT_EQ(must_read("cache: {page_tokens: 8}").cache.granularity, settle_granularity::page);
}

TEST(parse, reads_limits_fidelity_and_metrics) {
  const auto x = must_read("limits: {max_in_flight: 5, max_sequences: 6, deadline: 1.5s, "
                           "when_full: refuse}\n"
                           "fidelity: {audit_share: 0.01}\n"
                           "metrics: {enabled: false, address: \"::1\", port: 0}\n");
  EXPECT_EQ(x.limits.max_in_flight, 5u);
  EXPECT_EQ(x.limits.max_sequences, 6u);
  EXPECT_EQ(x.limits.deadline, 1500ms);
  EXPECT_EQ(x.limits.when_full, full_policy::refuse);
  EXPECT_EQ(x.fidelity.audit_share, 0.01);
  EXPECT_FALSE(x.metrics.enabled);
  EXPECT_EQ(x.metrics.address, "::1");
  EXPECT_EQ(x.metrics.port, 0u);
}

TEST(parse, reads_policies_and_their_options) {
  const auto x = must_read("placement: {policy: gate}\n"
                           "routing: {k: 3, policy: gate_top_k}\n"
                           "selection: {policy: quest, heads: shared, share: 0.25, pages: 9}\n"
                           "compression: {policy: int4}\n"
                           "budget: {tokens: 4096}\n"
                           "scheduling: {policy: h2o, normalise: false}\n");
  EXPECT_EQ(x.placement.name, "gate");
  EXPECT_EQ(x.routing.name, "gate_top_k");
  EXPECT_EQ(x.routing.options.integer("k"), 3);
  EXPECT_EQ(x.selection.name, "quest");
  EXPECT_EQ(x.selection.options.text("heads"), "shared");
  EXPECT_EQ(x.selection.options.real("share"), 0.25);
  EXPECT_EQ(x.selection.options.integer("pages"), 9);
  EXPECT_EQ(x.compression.name, "int4");
  EXPECT_EQ(x.budget.options.integer("tokens"), 4096);
  EXPECT_FALSE(x.scheduling.options.boolean("normalise"));
}

TEST(parse, drops_options_that_equal_their_defaults) {
  const auto x =
      must_read("selection: {policy: mass, heads: per_kv_head, share: 0.1250, pages: 0}\n"
                "budget: {policy: uniform, share: 1}\n");
  EXPECT_TRUE(x.selection.options.values().empty());
  EXPECT_TRUE(x.budget.options.values().empty());
}

TEST(parse, reads_whole_numbers_as_reals) {
  EXPECT_EQ(must_read("fidelity: {audit_share: 1}").fidelity.audit_share, 1.0);
}

TEST(parse, reads_quoted_values) {
  const auto x = must_read("devices: {memory: '2GiB', count: \"2\"}");
  EXPECT_EQ(x.devices.memory_bytes, std::uint64_t{2} << 30);
  EXPECT_EQ(x.devices.count, 2u);
}

TEST(parse, accepts_lines_that_end_like_those_of_windows) {
  EXPECT_EQ(must_read("cache:\r\n  shards: 3\r\n").cache.shards, 3u);
}

TEST(parse, a_window_of_one_page_is_enough) {
  EXPECT_EQ(must_read("cache: {page_tokens: 64, window: 64}").cache.window, 64u);
}

TEST(parse, without_a_catalog_policies_are_refused_and_the_rest_is_read) {
  EXPECT_TRUE(parse("cache: {shards: 3}", {}).ok());
  EXPECT_EQ(parse("routing: {policy: all}", {}).code(), errc::config_value);
}

TEST(parse, says_exactly_what_is_wrong_with_a_value) {
  EXPECT_EQ(read("selection:\n  policy: mass\n  share: 1.5\n").error().what,
            "t.yaml:3:10: selection.share: 1.5 is out of range; allowed: from 1e-06 to 1");
}

TEST(parse, says_exactly_what_is_wrong_with_a_key) {
  const auto what = read("cache: {}\n\nroutng: {policy: all}\n").error().what;
  EXPECT_EQ(what.find("t.yaml:3:1: routng: there is no such key; did you mean \"routing\"? "
                      "Allowed: runtime, devices, transfer, cache"),
            0u)
      << what;
}

TEST(load, names_a_file_that_is_not_there) {
  const auto x = load("/no/such/pikv.yaml", all_policies());
  ASSERT_EQ(x.code(), errc::io_failed);
  EXPECT_NE(x.error().what.find("/no/such/pikv.yaml"), std::string::npos);
}

TEST(load, refuses_a_folder) { EXPECT_EQ(load("/tmp", all_policies()).code(), errc::io_failed); }

TEST(load, takes_an_empty_file) { EXPECT_TRUE(load("/dev/null", all_policies()).ok()); }

} // namespace
} // namespace pikv::config::testing
