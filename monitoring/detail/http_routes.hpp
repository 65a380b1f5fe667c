// SPDX-License-Identifier: Apache-2.0
/// \file
/// What each path of the HTTP endpoint answers. Private to monitoring.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <pikv/monitoring/detail/http_response.hpp>
#include <pikv/monitoring/detail/reload_gate.hpp>
#include <pikv/monitoring/http_server.hpp>

struct mg_connection;

namespace pikv::monitoring::detail {

/// A request as it came in; views into civetweb's memory.
struct http_request {
  mg_connection* connection = nullptr;
  std::string_view method, path, query;

  std::string_view field(const char* name) const noexcept; ///< of the header; empty: absent
  /// The body, or why there is none: over_budget (too long), deadline_exceeded.
  result<std::string> body() const;
};

/// Thread-safe.
class http_routes {
public:
  http_routes(http_options options, http_handlers handlers)
      : options_(std::move(options)), handlers_(std::move(handlers)) {}

  response answer(const http_request& x);
  /// Ends those that wait for a change; none begins any more.
  void stop() noexcept { gate_.stop(); }

private:
  std::optional<std::function<response()>> page_of(std::string_view path);
  std::optional<response> refused(const http_request& x, bool open_without) const;
  response reload(const http_request& x);
  response change(const http_request& x, config_request::verb what);
  response run(reload_gate::work_fn f);

  const http_options options_;
  const http_handlers handlers_;
  reload_gate gate_;
};

} // namespace pikv::monitoring::detail
