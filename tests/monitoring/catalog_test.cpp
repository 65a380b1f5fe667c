// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/catalog.hpp>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace pikv::monitoring {

TEST(catalog, names_are_unique) {
  std::set<std::string_view> seen;
  for (const auto& x : catalog())
    EXPECT_TRUE(seen.insert(x.name).second) << x.name;
}

TEST(catalog, names_start_with_the_project_and_are_lower_case) {
  for (const auto& x : catalog()) {
    EXPECT_TRUE(x.name.starts_with("pikv_")) << x.name;
    EXPECT_TRUE(std::all_of(x.name.begin(), x.name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || c == '_';
    })) << x.name;
  }
}

TEST(catalog, counters_and_only_counters_end_in_total) {
  for (const auto& x : catalog())
    EXPECT_EQ(x.name.ends_with("_total"), x.type == metric_type::counter) << x.name;
}

TEST(catalog, units_are_base_units) {
  for (const auto& x : catalog())
    for (const auto* unit : {"_ms", "_us", "_ns", "_milliseconds", "_kb", "_mib", "_percent"})
      EXPECT_EQ(x.name.find(unit), std::string_view::npos) << x.name;
}

TEST(catalog, help_is_a_sentence) {
  for (const auto& x : catalog())
    EXPECT_TRUE(x.help.size() > 10 && x.help.ends_with('.')) << x.name;
}

TEST(catalog, histograms_and_only_histograms_have_rising_buckets) {
  for (const auto& x : catalog()) {
    EXPECT_EQ(!x.buckets.empty(), x.type == metric_type::histogram) << x.name;
    EXPECT_EQ(std::adjacent_find(x.buckets.begin(), x.buckets.end(), std::greater_equal<>{}),
              x.buckets.end())
        << x.name;
  }
}

TEST(catalog, finds_a_histogram_by_its_series) {
  for (const auto* suffix : {"", "_bucket", "_sum", "_count"}) {
    const auto* x = find_metric(std::string{"pikv_router_request_seconds"} + suffix);
    ASSERT_NE(x, nullptr) << suffix;
    EXPECT_EQ(x->name, "pikv_router_request_seconds");
  }
}

TEST(catalog, finds_no_metric_that_does_not_exist) {
  EXPECT_EQ(find_metric("pikv_router_request_seconds_max"), nullptr);
  EXPECT_EQ(find_metric("pikv_entries_total_bucket"), nullptr);
  EXPECT_EQ(find_metric(""), nullptr);
}

TEST(catalog, reference_page_names_every_metric_with_its_help) {
  const auto page = reference();
  for (const auto& x : catalog()) {
    EXPECT_NE(page.find("| `" + std::string{x.name} + "` |"), std::string::npos) << x.name;
    EXPECT_NE(page.find(x.help), std::string::npos) << x.name;
  }
}

TEST(catalog, docs_metrics_md_is_the_reference_page) {
  std::ifstream file{PIKV_SOURCE_DIR "/docs/metrics.md"};
  const std::string page{std::istreambuf_iterator<char>{file}, {}};
  EXPECT_EQ(page, reference()) << "write reference() into docs/metrics.md";
}

} // namespace pikv::monitoring
