// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/detail/http_routes.hpp>

#include <utility>

#include <civetweb.h>
#include <fmt/format.h>

#include <pikv/monitoring/detail/http_access.hpp>

#include "pikv_page.hpp" // made from page/ by CMake

namespace pikv::monitoring::detail {

namespace {

constexpr std::size_t longest_body = std::size_t{256} << 10;

response yes_or_no(const std::function<bool()>& f, std::string_view yes, std::string_view no) {
  if (!f || f())
    return {200, plain, std::string{yes}};
  return {503, plain, std::string{no}};
}

} // namespace

std::string_view http_request::field(const char* name) const noexcept {
  const char* x = mg_get_header(connection, name);
  return x == nullptr ? std::string_view{} : x;
}

result<std::string> http_request::body() const {
  std::string out;
  char piece[4096];
  for (;;) {
    const int n = mg_read(connection, piece, sizeof piece);
    if (n < 0)
      return error{errc::deadline_exceeded, "the request's body did not come in time"};
    if (n == 0)
      return out;
    out.append(piece, static_cast<std::size_t>(n));
    if (out.size() > longest_body)
      return error{errc::over_budget, "the body is longer than 256 KiB"};
  }
}

response http_routes::answer(const http_request& x) {
  if (x.path == "/-/reload" && handlers_.reload)
    return x.method == "POST" ? reload(x) : not_allowed("POST");
  if (x.path == "/config/rollback" && handlers_.change)
    return x.method == "POST" ? change(x, config_request::verb::rollback) : not_allowed("POST");
  if (x.path == "/config" && x.method == "PUT" && handlers_.change && !x.query.empty()
      && x.query != "dry_run=1") // what is meant as a look must not become a change
    return failure(400, {errc::invalid_argument, "PUT /config takes ?dry_run=1 or no query"});
  if (x.path == "/config" && x.method == "PUT" && handlers_.change)
    return change(x, x.query == "dry_run=1" ? config_request::verb::check
                                            : config_request::verb::apply);
  const auto page = page_of(x.path);
  if (!page)
    return {404, plain, "there is no such page; see /\n"};
  if (x.method != "GET" && x.method != "HEAD")
    return not_allowed(x.path == "/config" ? "GET, HEAD, PUT" : "GET, HEAD");
  return (*page)();
}

/// What GET of a path answers; null: there is no such path.
std::optional<std::function<response()>> http_routes::page_of(std::string_view path) {
  const auto part = [](std::string_view type, std::string_view text) {
    return [=]() -> response { return {200, type, std::string{text}}; };
  };
  if (path == "/")
    return part(html, page_html);
  if (path == "/page.css")
    return part(css, page_css);
  if (path == "/page.js")
    return part(script, page_js);
  if (path == "/metrics")
    return [this] { return response{200, exposition, handlers_.metrics()}; };
  if (path == "/-/healthy")
    return [this] { return yes_or_no(handlers_.healthy, "healthy\n", "not healthy\n"); };
  if (path == "/-/ready")
    return [this] { return yes_or_no(handlers_.ready, "ready\n", "not ready\n"); };
  if (path == "/config" && handlers_.config)
    return [this] { return response{200, yaml, handlers_.config()}; };
  if (path == "/config/history" && handlers_.history)
    return [this] { return response{200, json, handlers_.history()}; };
  return std::nullopt;
}

/// The refusal of a request that may not change anything.
std::optional<response> http_routes::refused(const http_request& x, bool open_without) const {
  return refusal({x.field("Authorization"), x.field("Origin"), x.field("Host")}, options_.token,
                 open_without);
}

response http_routes::reload(const http_request& x) {
  if (auto no = refused(x, true))
    return *no;
  return run([this]() -> result<std::string> {
    const auto version = handlers_.reload();
    if (!version)
      return version.error();
    return fmt::format("{{\"version\":{}}}\n", *version);
  });
}

response http_routes::change(const http_request& x, config_request::verb what) {
  // To look needs no token: it says no more than GET /config and `pikv config check` do.
  if (auto no = refused(x, false); no && what != config_request::verb::check)
    return *no;
  auto body = x.body();
  if (!body)
    return failure(body.code() == errc::over_budget ? 413 : 408, body.error());
  const auto* info = mg_get_request_info(x.connection);
  return run([this, asked = config_request{what, std::move(*body),
                                           fmt::format("http from {}", info->remote_addr)}] {
    return handlers_.change(asked);
  });
}

/// Runs what may block, in turn.
response http_routes::run(reload_gate::work_fn f) {
  auto x = gate_.run(std::move(f), options_.reload_deadline);
  if (x)
    return {200, json, std::move(*x)};
  switch (x.code()) {
  case errc::deadline_exceeded: return failure(504, x.error());
  case errc::cancelled: return failure(503, x.error());
  default: return failure(400, x.error());
  }
}

} // namespace pikv::monitoring::detail
