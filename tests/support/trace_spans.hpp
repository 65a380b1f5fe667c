// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads traces back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <pikv/gpu/trace.hpp>

namespace pikv::test {

/// A span as the file has it, in nanoseconds from the start of the trace.
struct seen_span {
  std::string label;
  std::int64_t begin = 0, end = 0;
};

/// Ends tracing; what was recorded, as a file has it.
inline nlohmann::json written_trace() {
  gpu::trace::stop();
  std::ostringstream out;
  gpu::trace::write(out);
  return nlohmann::json::parse(out.str());
}

/// Spans of the track of this name, by their begin.
inline std::vector<seen_span> spans_of(const nlohmann::json& file, const std::string& track) {
  std::vector<seen_span> spans;
  for (const auto& name : file.at("traceEvents"))
    if (name.at("name") == "thread_name" && name.at("args").at("name") == track)
      for (const auto& x : file.at("traceEvents"))
        if (x.at("ph") == "X" && x.at("tid") == name.at("tid")) {
          const auto begin = std::llround(1000 * x.at("ts").get<double>());
          spans.push_back(
              {x.at("name"), begin, begin + std::llround(1000 * x.at("dur").get<double>())});
        }
  std::ranges::sort(spans, {}, &seen_span::begin);
  return spans;
}

} // namespace pikv::test
