// SPDX-License-Identifier: Apache-2.0
// Our part of the HTTP endpoint, without civetweb and sockets: any method, path, query, fields and
// body get a whole answer, and nothing changes without the token or from another site.
//
// An input is lines METHOD, PATH, QUERY, Authorization, Origin, Host, then the body.
#include <algorithm>
#include <cstring>
#include <string>

#include <civetweb.h>

#include <pikv/config/config.hpp>
#include <pikv/monitoring/detail/http_routes.hpp>
#include <pikv/policies/table.hpp>

#include "target.hpp"

// What our functions ask of civetweb. The linker takes these before the library's.
struct mg_connection {
  std::string authorization, origin, host;
  std::string_view body;
  mg_request_info info{};
};

extern "C" {

const char* mg_get_header(const mg_connection* x, const char* name) {
  const auto* field = std::strcmp(name, "Authorization") == 0 ? &x->authorization
                      : std::strcmp(name, "Origin") == 0      ? &x->origin
                                                              : &x->host;
  return field->empty() ? nullptr : field->c_str();
}

int mg_read(mg_connection* x, void* out, std::size_t room) {
  const auto n = std::min(room, x->body.size());
  std::memcpy(out, x->body.data(), n);
  x->body.remove_prefix(n);
  return static_cast<int>(n);
}

const mg_request_info* mg_get_request_info(const mg_connection* x) { return &x->info; }
}

namespace {

using namespace pikv;
using fuzz::expect;
using monitoring::config_request;

const std::string token = "0123456789abcdef";
int changes = 0; // one request at a time: answer() waits for the thread that changes

result<std::string> change(const config_request& x) {
  if (x.what != config_request::verb::check)
    ++changes;
  static const auto catalog = policies::catalog();
  const auto next = config::parse(x.yaml, catalog, "body");
  if (!next)
    return next.error();
  return config::to_yaml(*next, catalog, false);
}

std::string line_of(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const std::string line{text.substr(0, end)};
  text.remove_prefix(std::min(end + 1, text.size()));
  return line.substr(0, line.find('\0')); // civetweb's fields end at the first zero
}

void check_answer(const monitoring::detail::response& x) {
  const auto whole = render(x, false);
  const auto head = render(x, true);
  expect(monitoring::detail::reason(x.status) != "Internal Server Error", "no input is our error");
  expect(whole.starts_with(head) && whole.size() == head.size() + x.body.size(),
         "HEAD is GET without a body");
  expect(head.find("\r\n\r\n") == head.size() - 4,
         "a head has one end: no field can be smuggled in");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static monitoring::detail::http_routes routes{
      {.token = token},
      {.metrics = [] { return std::string{"pikv_config_version 1\n"}; },
       .healthy = {},
       .ready = {},
       .reload = []() -> result<std::uint64_t> { return std::uint64_t(++changes); },
       .config = [] { return std::string{"{}\n"}; },
       .history = [] { return std::string{"[]\n"}; },
       .change = change}};
  auto text = fuzz::text_of(data, size);
  const auto method = line_of(text), path = line_of(text), query = line_of(text);
  mg_connection connection;
  connection.authorization = line_of(text);
  connection.origin = line_of(text);
  connection.host = line_of(text);
  connection.body = text;
  const auto before = changes;
  const auto x = routes.answer({&connection, method, path, query});
  check_answer(x);
  const bool allowed = connection.authorization == "Bearer " + token;
  const bool here =
      connection.origin.empty() || connection.origin.ends_with("://" + connection.host);
  expect(changes == before || (allowed && here && method != "GET" && method != "HEAD"),
         "only who has the token changes anything");
  return 0;
}
