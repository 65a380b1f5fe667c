// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/schema.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <pikv/config/value_text.hpp>

namespace pikv::config {

std::optional<conflict> find_conflict(const settings& x) {
  if (x.cache.window < x.cache.page_tokens)
    return conflict{{"cache.window", "cache.page_tokens"},
                    fmt::format("{} is less than a page of {} tokens; allowed: at least "
                                "cache.page_tokens",
                                x.cache.window, x.cache.page_tokens)};
  if (x.transfer.path == move_path::nccl && x.devices.backend != "cuda")
    return conflict{{"transfer.path", "devices.backend"},
                    fmt::format("nccl moves pages between GPUs only, not on backend {}; allowed: "
                                "auto, peer, or devices.backend cuda",
                                clipped(x.devices.backend))};
  if ((x.fidelity.coverage_target > 0 || x.fidelity.max_output_error > 0)
      && x.fidelity.audit_share <= 0)
    return conflict{
        {"fidelity.audit_share", "fidelity.coverage_target", "fidelity.max_output_error"},
        fmt::format("{} audits nothing, so no target can be held; allowed: more than 0 "
                    "with fidelity.coverage_target or fidelity.max_output_error",
                    x.fidelity.audit_share)};
  const auto host = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.'
           || c == ':' || c == '-' || c == '_' || c == '[' || c == ']';
  };
  if (x.metrics.address.empty() || !std::ranges::all_of(x.metrics.address, host))
    return conflict{{"metrics.address"},
                    fmt::format("{} is not an address; allowed: an IP address or a host name, "
                                "such as 127.0.0.1 or localhost",
                                clipped(x.metrics.address))};
  return {};
}

} // namespace pikv::config
