// SPDX-License-Identifier: Apache-2.0
/// \file
/// What rows.cpp makes of the base configuration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <pikv/config/settings.hpp>

namespace pikv::tools {

using edit = std::function<void(config::settings&)>;

inline edit both(edit first, edit second) {
  return [first = std::move(first), second = std::move(second)](config::settings& x) {
    first(x);
    second(x);
  };
}

inline edit packed(const std::string& form) {
  return [form](config::settings& x) { x.compression = {form, {}}; };
}

inline edit kept(const std::string& budget, const std::string& scheduler, double share) {
  return [=](config::settings& x) {
    x.budget = {budget, {}};
    x.budget.options.set("share", share);
    x.scheduling = {scheduler, {}};
  };
}

inline edit selected(const std::string& policy, const char* heads, double share) {
  return [=](config::settings& x) {
    x.selection = {policy, {}};
    if (heads != nullptr)
      x.selection.options.set("heads", std::string{heads});
    if (share > 0)
      x.selection.options.set("share", share);
  };
}

inline edit entry_by_entry() {
  return [](config::settings& x) { x.cache.granularity = config::settle_granularity::entry; };
}

inline edit routed(const std::string& policy, const std::string& placement, std::int64_t k) {
  return [=](config::settings& x) {
    x.placement = {placement, {}};
    x.routing = {policy, {}};
    if (k > 0)
      x.routing.options.set("k", k);
  };
}

} // namespace pikv::tools
