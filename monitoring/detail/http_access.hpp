// SPDX-License-Identifier: Apache-2.0
/// \file
/// Who may change something over HTTP. Private to monitoring.
#pragma once

#include <optional>
#include <string_view>

#include <pikv/monitoring/detail/http_response.hpp>

namespace pikv::monitoring::detail {

/// The time it takes depends on the lengths alone.
inline bool same_secret(std::string_view a, std::string_view b) noexcept {
  unsigned difference = a.size() == b.size() ? 0U : 1U;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]))
                  ^ static_cast<unsigned>(static_cast<unsigned char>(i < b.size() ? b[i] : 0));
  return difference == 0;
}

/// Whether a request comes from a page of this server, or from no page: browsers name the page's
/// origin, and pages of others must not reach what a machine's own user could.
inline bool same_origin(std::string_view origin, std::string_view host) noexcept {
  if (origin.empty())
    return true;
  const auto at = origin.find("://");
  return at != std::string_view::npos && origin.substr(at + 3) == host;
}

struct credentials {
  std::string_view authorization, origin, host; ///< header fields; empty: absent
};

/// The refusal of a request that changes something; none: it may. `open_without`: it needs no token
/// where none is set.
inline std::optional<response> refusal(const credentials& x, std::string_view token,
                                       bool open_without) {
  if (!same_origin(x.origin, x.host))
    return failure(403, {errc::invalid_argument, "the request comes from a page of another site"});
  if (token.empty()) {
    if (open_without)
      return std::nullopt;
    return failure(403,
                   {errc::unsupported, "changes over HTTP are off: name a file with a token as "
                                       "metrics.admin_token_file and restart"});
  }
  constexpr std::string_view scheme = "Bearer ";
  if (x.authorization.starts_with(scheme)
      && same_secret(x.authorization.substr(scheme.size()), token))
    return std::nullopt;
  return failure(401, {errc::invalid_argument,
                       "this needs the token of metrics.admin_token_file, as the header "
                       "\"Authorization: Bearer TOKEN\""});
}

} // namespace pikv::monitoring::detail
