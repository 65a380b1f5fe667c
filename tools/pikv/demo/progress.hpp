// SPDX-License-Identifier: Apache-2.0
/// \file
/// How far a run is, for the person who waits: a bar that is redrawn on a terminal, a line every
/// few seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace pikv::tools {

/// One moment of a run of several rows.
struct run_state {
  std::string_view row;
  std::size_t index = 0; ///< of the row, from 0
  std::size_t rows = 1;
  std::uint64_t tokens_done = 0; ///< of this row
  std::uint64_t tokens_total = 0;
  double tokens_per_second = 0;
  double bits_per_byte = 0; ///< so far; 0: none yet
};

/// "[######......] 3/17 int8  50%  1234 tokens/s  1.375 bits/byte", without a line break.
std::string progress_text(const run_state& x);

/// Not thread-safe. Writes to `out`, which outlives it.
class progress_line {
public:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds redraw{100};
  static constexpr std::chrono::seconds line_every{5};

  progress_line(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void update(const run_state& x, clock::time_point now = clock::now());
  void clear(); ///< removes a drawn bar, so that other text can follow

private:
  std::FILE* out_;
  bool terminal_;
  bool drawn_ = false;
  clock::time_point last_{};
};

} // namespace pikv::tools
