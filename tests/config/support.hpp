// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the configuration's tests share.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::config::testing {

inline const policy_catalog& all_policies() {
  static const auto catalog = policies::catalog();
  return catalog;
}

inline result<settings> read(std::string_view text) {
  return parse(text, all_policies(), "t.yaml");
}

/// The settings, or a failed test and the defaults.
inline settings must_read(std::string_view text) {
  auto x = read(text);
  EXPECT_TRUE(x.ok()) << x.error().what;
  return x ? *x : settings{};
}

} // namespace pikv::config::testing
