// SPDX-License-Identifier: Apache-2.0
/// \file
/// Figures of a run on several GPUs: printed as they come, and kept for the JSON file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::bench {

/// A bound that a figure is held against.
struct target {
  double value = 0;
  bool at_most = true;
};

class report {
public:
  void section(const std::string& name) {
    section_ = name;
    fmt::print("\n{}\n", name);
    std::fflush(stdout);
  }

  /// One figure. `gpus`: that took part.
  void add(const std::string& what, int gpus, double value, const std::string& unit,
           std::optional<target> t = {}) {
    const bool met = !t || (t->at_most ? value <= t->value : value >= t->value);
    met_ = met_ && met;
    fmt::print("  {:58} {:2} GPU{} {:12.3f} {:10}{}\n", what, gpus, gpus == 1 ? " " : "s", value,
               unit,
               t ? fmt::format(" ({} {}: {})", t->at_most ? "at most" : "at least", t->value,
                               met ? "met" : "MISSED")
                 : "");
    std::fflush(stdout);
    nlohmann::json x{{"section", section_}, {"what", what}, {"gpus", gpus}, {"value", value},
                     {"unit", unit}};
    if (t)
      x["target"] = {{"value", t->value}, {"at_most", t->at_most}, {"met", met}};
    rows_.push_back(std::move(x));
  }

  /// Something that has to hold, whatever the speed.
  void require_that(const std::string& what, int gpus, bool holds) {
    correct_ = correct_ && holds;
    add(what, gpus, holds ? 1 : 0, "holds", target{1, false});
  }

  bool correct() const noexcept { return correct_; }
  bool met() const noexcept { return met_; }
  const nlohmann::json& rows() const noexcept { return rows_; }

private:
  std::string section_;
  nlohmann::json rows_ = nlohmann::json::array();
  bool correct_ = true;
  bool met_ = true;
};

} // namespace pikv::bench
