// SPDX-License-Identifier: Apache-2.0
#include "demo/progress.hpp"

#include <fmt/format.h>

namespace pikv::tools {

std::string progress_text(const run_state& x) {
  constexpr std::size_t width = 24;
  const auto share = x.tokens_total == 0
                         ? 0.0
                         : static_cast<double>(x.tokens_done) / static_cast<double>(x.tokens_total);
  const auto overall = (static_cast<double>(x.index) + share) / static_cast<double>(x.rows);
  const auto filled = static_cast<std::size_t>(overall * width);
  auto text =
      fmt::format("[{:#<{}}{:.<{}}] {}/{} {}  {:.0f}%  {:.0f} tokens/s", "", filled, "",
                  width - filled, x.index + 1, x.rows, x.row, 100 * share, x.tokens_per_second);
  if (x.bits_per_byte > 0)
    text += fmt::format("  {:.3f} bits/byte", x.bits_per_byte);
  return text;
}

void progress_line::update(const run_state& x, clock::time_point now) {
  const clock::duration every = terminal_ ? clock::duration{redraw} : clock::duration{line_every};
  if (last_ != clock::time_point{} && now - last_ < every)
    return;
  last_ = now;
  if (terminal_)
    fmt::print(out_, "\r{}\x1b[K", progress_text(x));
  else
    fmt::print(out_, "{}\n", progress_text(x));
  drawn_ = terminal_;
  std::fflush(out_);
}

void progress_line::clear() {
  if (!drawn_)
    return;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
  drawn_ = false;
}

} // namespace pikv::tools
