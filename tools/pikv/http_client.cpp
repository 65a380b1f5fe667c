// SPDX-License-Identifier: Apache-2.0
#include "http_client.hpp"

#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>

namespace pikv::tools {

namespace {

constexpr std::size_t most_bytes = std::size_t{16} << 20;

std::size_t take(char* data, std::size_t, std::size_t n, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + n > most_bytes)
    return 0; // anything but n ends the transfer
  body.append(data, n);
  return n;
}

struct closer {
  void operator()(CURL* x) const noexcept { curl_easy_cleanup(x); }
  void operator()(curl_slist* x) const noexcept { curl_slist_free_all(x); }
};

void prepare(CURL* curl, const http_call& x, curl_slist* fields, std::string& body) {
  curl_easy_setopt(curl, CURLOPT_URL, x.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(x.deadline.count()));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
  if (!x.put)
    return;
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "PUT");
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(x.body.size()));
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, x.body.c_str());
}

} // namespace

result<http_answer> send(const http_call& x) {
  const std::unique_ptr<CURL, closer> curl{curl_easy_init()};
  if (!curl)
    return error{errc::internal, "libcurl does not start"};
  // An empty "Expect:" keeps curl from waiting a second for a 100 that the endpoint does not send.
  std::unique_ptr<curl_slist, closer> fields{curl_slist_append(nullptr, "Expect:")};
  if (!x.token.empty())
    curl_slist_append(fields.get(), ("Authorization: Bearer " + x.token).c_str());
  http_answer out;
  prepare(curl.get(), x, fields.get(), out.body);
  const auto r = curl_easy_perform(curl.get());
  if (r == CURLE_OPERATION_TIMEDOUT)
    return error{errc::deadline_exceeded,
                 fmt::format("{}: no answer within {} ms", x.url, x.deadline.count())};
  if (r == CURLE_WRITE_ERROR)
    return error{errc::io_failed, fmt::format("{}: the answer is above 16 MiB", x.url)};
  if (r != CURLE_OK)
    return error{errc::io_failed,
                 fmt::format("{}: {}; is the process running, with this address and port in "
                             "metrics.address and metrics.port?",
                             x.url, curl_easy_strerror(r))};
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &out.status);
  return out;
}

} // namespace pikv::tools
