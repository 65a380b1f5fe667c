// SPDX-License-Identifier: Apache-2.0
#include "plan_model.hpp"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/memory/slab_arena.hpp>

namespace pikv::tools {
namespace {

plan_request request_of(std::string_view model) {
  plan_request x;
  x.model = *find_model(model);
  x.context = x.model.context;
  return x;
}

plan_request with(form stored) {
  auto x = request_of("mixtral-8x7b");
  x.stored = stored;
  x.raw = is_raw(stored) ? stored : form::f16;
  return x;
}

TEST(plan, mixtral_takes_131072_bytes_per_token_in_16_bit) {
  EXPECT_EQ(find_model("mixtral-8x7b")->bytes_per_token(16), 131072);
}

TEST(plan, qwen3_30b_a3b_takes_98304_bytes_per_token_in_16_bit) {
  EXPECT_EQ(find_model("qwen3-30b-a3b")->bytes_per_token(16), 98304);
}

TEST(plan, deepseek_v3_takes_70272_bytes_per_token_in_16_bit) {
  EXPECT_EQ(find_model("deepseek-v3")->bytes_per_token(16), 70272);
}

TEST(plan, paper_example_takes_more_than_its_24_gb) {
  const auto& model = *find_model("paper-7b");
  EXPECT_EQ(model.experts, 16U);
  EXPECT_GT(model.bytes_per_token(16) * static_cast<double>(model.context), 24e9);
}

TEST(plan, unknown_model_is_null) { EXPECT_EQ(find_model("mixtral"), nullptr); }

TEST(plan, raw_page_is_its_values_and_nothing_else) {
  const auto page = bytes_of_page(*find_model("mixtral-8x7b"), 16, form::f16);
  EXPECT_EQ(page.values, 65536U); // 8 heads x 2 x 128 x 16 tokens x 2 bytes
  EXPECT_EQ(page.scales, 0U);
  EXPECT_EQ(page.total, 65536U);
}

TEST(plan, int8_page_adds_four_bytes_per_k_channel_and_v_group) {
  const auto page = bytes_of_page(*find_model("mixtral-8x7b"), 16, form::int8);
  EXPECT_EQ(page.values, 32768U);
  EXPECT_EQ(page.scales, 8U * (128 * 4 + 16 * 4 * 4)); // K: 128 channels; V: 16 tokens x 4 groups
  EXPECT_EQ(page.total, page.values + page.scales + page.alignment);
}

TEST(plan, fp8_page_adds_one_scale_for_k_and_one_for_v) {
  const auto page = bytes_of_page(*find_model("mixtral-8x7b"), 16, form::fp8);
  EXPECT_EQ(page.values, 32768U);
  EXPECT_EQ(page.scales, 8U * 2 * 4);
  EXPECT_EQ(page.total, page.values + 8 * 2 * 64);
}

TEST(plan, page_of_64_tokens_has_two_k_groups_per_channel) {
  const auto page = bytes_of_page(*find_model("mixtral-8x7b"), 64, form::int4);
  EXPECT_EQ(page.scales, 8U * (128 * 2 * 4 + 64 * 4 * 4));
}

TEST(plan, page_of_64_tokens_has_one_k_group_per_channel_below_four_bits) {
  const auto& model = *find_model("mixtral-8x7b");
  for (const form stored : {form::int3, form::int2, form::k3v2})
    EXPECT_EQ(bytes_of_page(model, 64, stored).scales, 8U * (128 * 4 + 64 * 4 * 4));
  EXPECT_EQ(bytes_of_page(model, 64, form::k4v2).scales, 8U * (128 * 2 * 4 + 64 * 4 * 4));
}

TEST(plan, mixed_page_counts_the_bits_of_k_and_of_v) {
  const auto& model = *find_model("mixtral-8x7b");
  const auto page = bytes_of_page(model, 16, form::k3v2);
  EXPECT_EQ(page.values, 8U * 128 * 16 * (3 + 2) / 8);
  EXPECT_EQ(page.scales, bytes_of_page(model, 16, form::int8).scales);
  EXPECT_EQ(page.alignment, 0U);
  EXPECT_EQ(bytes_of_page(*find_model("deepseek-v3"), 16, form::k3v2).values, 576U * 16 * 3 / 8);
}

TEST(plan, latent_page_is_k_alone) {
  const auto page = bytes_of_page(*find_model("deepseek-v3"), 16, form::bf16);
  EXPECT_EQ(page.total, 576U * 16 * 2);
  EXPECT_EQ(page.alignment, 0U);
}

TEST(plan, latent_int8_page_has_k_scales_only) {
  const auto page = bytes_of_page(*find_model("deepseek-v3"), 16, form::int8);
  EXPECT_EQ(page.values, 576U * 16);
  EXPECT_EQ(page.scales, 576U * 4);
  EXPECT_EQ(page.total, 576U * 16 + 576 * 4);
}

TEST(plan, page_parts_add_up_for_every_form_and_size) {
  for (const auto& model : known_models())
    for (const auto page_tokens : {8U, 16U, 32U, 64U})
      for (const auto stored : gpu::all_forms) {
        const auto page = bytes_of_page(model, page_tokens, stored);
        EXPECT_EQ(page.values + page.scales + page.alignment, page.total);
        EXPECT_LT(page.alignment, model.kv_heads * 4U * 64);
      }
}

TEST(plan, every_token_is_in_a_settled_or_a_raw_page) {
  auto x = request_of("mixtral-8x7b");
  for (std::uint64_t context = 1; context < 700; ++context)
    for (const auto page_tokens : {8U, 64U}) {
      x.context = context;
      x.page_tokens = page_tokens;
      const auto pages = count_pages(x);
      EXPECT_EQ(pages.settled * page_tokens + pages.raw_tokens, context);
      EXPECT_LE(pages.raw_tokens, pages.raw * page_tokens);
    }
}

TEST(plan, window_stays_raw_however_long_the_context) {
  auto x = request_of("mixtral-8x7b");
  for (std::uint64_t context = x.window + x.sinks; context < 2000; ++context) {
    x.context = context;
    const auto pages = count_pages(x);
    EXPECT_GE(pages.raw_tokens, std::uint64_t{x.window} + x.sinks);
    EXPECT_LT(pages.raw_tokens, std::uint64_t{x.window} + x.sinks + x.page_tokens);
  }
}

TEST(plan, shards_that_place_entries_keep_half_full_pages_open) {
  plan_request x;
  x.model = *find_model("mixtral-8x7b");
  x.context = 4 + 128 + 16 * 100;
  x.shards = 10;
  const auto whole = count_pages(x);
  x.entries = true;
  const auto entries = count_pages(x);
  EXPECT_EQ(whole.settled, 100U);
  EXPECT_EQ(entries.settled, 95U); // 10 pages of 8 entries are open
  EXPECT_EQ(entries.raw, whole.raw + 10);
  EXPECT_EQ(entries.raw_tokens + entries.settled * x.page_tokens, x.context);
  EXPECT_GT(make_plan(x).device.raw_values, 0U);
}

TEST(plan, short_sequence_settles_nothing) {
  auto x = request_of("mixtral-8x7b");
  x.context = x.sinks + x.window;
  EXPECT_EQ(count_pages(x).settled, 0U);
}

TEST(plan, devices_together_hold_the_values_of_all_tokens) {
  auto x = with(form::f16);
  x.context = 16384 + x.sinks; // whole pages besides the sinks
  x.sequences = 4;
  x.gpus = 4;
  const auto p = make_plan(x);
  const auto values = p.device.settled_values + p.device.raw_values;
  EXPECT_EQ(values * 4, x.context * x.sequences * 131072);
}

TEST(plan, total_is_the_fullest_device_times_all_when_dealt_without_remainder) {
  auto x = with(form::f16);
  x.sequences = 8;
  x.gpus = 8;
  const auto p = make_plan(x);
  EXPECT_EQ(p.cache_bytes, p.device.total() * 8);
}

TEST(plan, lone_sequence_keeps_its_window_on_one_device) {
  auto x = with(form::f16);
  x.gpus = 4;
  const auto p = make_plan(x);
  EXPECT_LT(p.cache_bytes, p.device.total() * 4);
  EXPECT_EQ(p.device.raw_values, p.pages.raw_tokens * 131072);
}

TEST(plan, fewer_shards_than_devices_leave_devices_without_pages) {
  auto x = with(form::f16);
  x.gpus = 8;
  x.shards = 2;
  const auto few = make_plan(x);
  EXPECT_EQ(few.holders, 2U);
  x.shards = 8;
  EXPECT_GT(few.device.total(), 3 * make_plan(x).device.total());
}

TEST(plan, int4_with_its_scales_is_between_a_quarter_and_a_half_of_f16) {
  const auto raw = make_plan(with(form::f16)).cache_bytes;
  const auto packed = make_plan(with(form::int4)).cache_bytes;
  EXPECT_GT(packed * 4, raw);
  EXPECT_LT(packed * 2, raw);
}

TEST(plan, mass_summary_is_two_f16_rows_per_page_and_head) {
  auto x = with(form::f16);
  x.summary_parts = gpu::summary_mean_var;
  const auto p = make_plan(x);
  EXPECT_EQ(p.device.summaries, p.pages.settled * 32 * 8 * 2 * 128 * 2);
}

TEST(plan, page_tables_have_room_for_a_power_of_two_of_pages) {
  auto x = with(form::f16);
  x.context = x.sinks + x.window + 16 * 600;
  const auto tables = make_plan(x).device.tables;
  x.context += 16 * 400;
  EXPECT_EQ(make_plan(x).device.tables, tables); // 600 and 1,000 pages: room for 1,024
  x.context += 16 * 25;
  EXPECT_EQ(make_plan(x).device.tables - tables, 32 * 1024 * table_bytes_per_page);
}

TEST(plan, window_tables_keep_the_room_of_the_longest_append) {
  auto x = with(form::f16);
  x.append_tokens = 1; // 9 pages in the window, 1 of sinks, 16 places
  const auto small = make_plan(x).device.tables;
  x.append_tokens = 2048; // 128 more pages, 256 places
  EXPECT_EQ(make_plan(x).device.tables - small, 32 * (256 - 16) * table_bytes_per_page);
}

TEST(plan, copies_of_tables_are_counted_where_kernels_keep_them) {
  auto x = with(form::f16);
  EXPECT_EQ(make_plan(x).device.table_copies, 0U);
  x.table_copies = true;
  const auto a = account_of(x, 0);
  const auto views = x.model.layers * gpu::table_copy_views(count_pages(x).settled);
  EXPECT_EQ(a.table_copies, views * sizeof(gpu::page_view));
  EXPECT_EQ(a.memory(), a.total() - a.tables);
}

TEST(plan, stripe_starts_each_layer_on_another_device) {
  auto x = with(form::f16);
  x.model.layers = 2;
  x.gpus = x.shards = 4;
  x.context = x.sinks + x.window + x.page_tokens; // one settled page a layer
  const std::uint64_t page = 65536;
  EXPECT_EQ(account_of(x, 0).settled_values, page); // layer 0
  EXPECT_EQ(account_of(x, 1).settled_values, page); // layer 1
  EXPECT_EQ(account_of(x, 2).total(), 0U);
}

TEST(plan, devices_without_shards_hold_windows_alone) {
  auto x = with(form::f16);
  x.gpus = 8;
  x.shards = 2;
  x.sequences = 13; // homes: two each on five devices, one each on three
  const auto p = make_plan(x);
  std::uint64_t bytes = 0;
  for (std::uint32_t device = 0; device < x.gpus; ++device) {
    const auto a = account_of(x, device);
    bytes += a.total();
    EXPECT_EQ(a.settled_values > 0, device < 2);
    EXPECT_EQ(a.raw_values, (device < 5 ? 2 : 1) * p.pages.raw_tokens * 131072);
  }
  EXPECT_EQ(p.cache_bytes, bytes);
}

TEST(plan, appends_pass_through_home_devices_only_when_pages_leave) {
  auto x = with(form::f16);
  EXPECT_EQ(passing_bytes(x, 0), 0U); // they settle where they are
  x.gpus = 4;
  EXPECT_EQ(passing_bytes(x, 0), (2048 / 16 + 1) * 32 * 65536U);
  EXPECT_EQ(passing_bytes(x, 1), 0U);                // home of no sequence
  EXPECT_GT(passing_bytes(with(form::int8), 0), 0U); // packed beside the original
}

TEST(plan, slabs_match_what_the_host_arena_reserves) {
  std::mt19937 random{7};
  std::vector<std::size_t> sizes{64, 65, 3072, 4096, 4864, 18432, 38912, 65536, 131072, 131073};
  for (int i = 0; i < 40; ++i)
    sizes.push_back(std::uniform_int_distribution<std::size_t>{1, 300000}(random));
  for (const auto bytes : sizes) {
    const auto arena = gpu::slab_arena::make({}, arena_kind::memory, std::size_t{1} << 30);
    std::vector<gpu::block> blocks;
    for (const std::size_t count : {1U, 7U, 50U}) {
      while (blocks.size() < count) {
        auto block = arena->allocate(bytes);
        ASSERT_TRUE(block.ok());
        blocks.push_back(std::move(*block));
      }
      EXPECT_EQ(reserved_bytes(bytes, count), arena->usage().reserved)
          << count << " of " << bytes << " bytes";
    }
  }
}

TEST(plan, refuses_a_head_dim_that_no_kernel_reads) {
  auto x = with(form::f16);
  x.model.k_dim = x.model.v_dim = 48;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
  x.model.k_dim = x.model.v_dim = 288;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
}

TEST(plan, refuses_heads_that_do_not_divide) {
  auto x = with(form::f16);
  x.model.kv_heads = 5;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
}

TEST(plan, refuses_page_sizes_other_than_8_16_32_64) {
  auto x = with(form::f16);
  x.page_tokens = 24;
  const auto checked = check(x);
  ASSERT_EQ(checked.code(), errc::invalid_argument);
  EXPECT_NE(checked.error().what.find("8, 16, 32, 64"), std::string::npos);
}

TEST(plan, refuses_sinks_that_do_not_fit_a_page) {
  auto x = with(form::f16);
  x.sinks = 17;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
}

TEST(plan, refuses_nothing_to_hold) {
  auto x = with(form::f16);
  x.sequences = 0;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
}

TEST(plan, refuses_what_would_overflow) {
  auto x = with(form::f16);
  x.context = std::uint64_t{1} << 40;
  EXPECT_EQ(check(x).code(), errc::invalid_argument);
}

TEST(plan, accepts_every_known_model) {
  for (const auto& model : known_models())
    EXPECT_TRUE(check(request_of(model.name)).ok()) << model.name;
}

} // namespace
} // namespace pikv::tools
