// SPDX-License-Identifier: Apache-2.0
#include "eval/few_bits_rows.hpp"

#include <utility>

#include <fmt/format.h>

#include "eval/row_edits.hpp"

namespace pikv::tools {

std::vector<eval_row> few_bits_rows(const std::string& evicting_with) {
  std::vector<eval_row> out;
  const auto pages_of = [](std::uint32_t tokens) {
    return [tokens](config::settings& x) { x.cache.page_tokens = tokens; };
  };
  const edit k3v2 = [](config::settings& x) {
    x.compression = {"mixed", {}};
    x.compression.options.set("k_bits", std::int64_t{3});
  };
  const auto add = [&](const std::string& name, const std::string& help, edit change) {
    out.push_back({name, "compression", help, false, {}, std::move(change)});
  };
  add("mixed_k3v2", "K in 3 bits, V in 2", k3v2);
  for (const std::uint32_t tokens : {32U, 64U}) {
    const auto name = [tokens](const char* form) {
      return fmt::format("{}_page_{}", form, tokens);
    };
    for (const char* form : {"int8", "int4", "int3", "int2", "mixed"})
      add(name(form), fmt::format("{} in pages of {} tokens", form, tokens),
          both(packed(form), pages_of(tokens)));
    add(name("mixed_k3v2"), fmt::format("K in 3 bits, V in 2, in pages of {} tokens", tokens),
        both(k3v2, pages_of(tokens)));
  }
  for (const double share : {0.85, 0.6})
    add(fmt::format("mixed_k3v2_page_32+keep_{}", share),
        fmt::format("mixed_k3v2_page_32, and {} of the entries kept by {}", share, evicting_with),
        both(both(k3v2, pages_of(32)), kept("uniform", evicting_with, share)));
  return out;
}

} // namespace pikv::tools
