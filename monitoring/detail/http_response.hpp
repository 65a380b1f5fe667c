// SPDX-License-Identifier: Apache-2.0
/// \file
/// Answers of the HTTP endpoint as values, and as bytes. Private to monitoring.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

#include <pikv/messages/error.hpp>

namespace pikv::monitoring::detail {

inline constexpr std::string_view plain = "text/plain; charset=utf-8";
inline constexpr std::string_view json = "application/json";
inline constexpr std::string_view html = "text/html; charset=utf-8";
inline constexpr std::string_view css = "text/css; charset=utf-8";
inline constexpr std::string_view script = "text/javascript; charset=utf-8";
inline constexpr std::string_view yaml = "text/yaml; charset=utf-8";
inline constexpr std::string_view exposition = "text/plain; version=0.0.4; charset=utf-8";

struct response {
  int status = 200;
  std::string_view type = plain;
  std::string body;
  std::string_view allow = {}; ///< with 405
};

inline std::string_view reason(int status) noexcept {
  switch (status) {
  case 200: return "OK";
  case 400: return "Bad Request";
  case 401: return "Unauthorized";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 408: return "Request Timeout";
  case 413: return "Content Too Large";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  default: return "Internal Server Error";
  }
}

inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

inline response failure(int status, const error& e) {
  return {status, json,
          fmt::format("{{\"error\":{},\"code\":{}}}\n", json_string(e.what),
                      json_string(to_string(e.code)))};
}

inline response not_allowed(std::string_view allow) {
  return {405, plain, fmt::format("use {}\n", allow), allow};
}

/// The bytes of an answer; `head`: without the body.
inline std::string render(const response& x, bool head) {
  auto out = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
                         "Cache-Control: no-store\r\nConnection: close\r\n"
                         "X-Content-Type-Options: nosniff\r\n"
                         "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'\r\n",
                         x.status, reason(x.status), x.type, x.body.size());
  if (x.status == 401)
    out += "WWW-Authenticate: Bearer\r\n";
  if (!x.allow.empty())
    out += fmt::format("Allow: {}\r\n", x.allow);
  out += "\r\n";
  if (!head)
    out += x.body;
  return out;
}

} // namespace pikv::monitoring::detail
