// SPDX-License-Identifier: Apache-2.0
/// \file
/// The operator's HTTP endpoint:
///
///   - GET  /                 a page that shows what runs; /page.css and /page.js are its parts
///   - GET  /metrics          Prometheus text exposition
///   - GET  /-/healthy        200 while the process serves, else 503
///   - GET  /-/ready          200 when requests are accepted, else 503
///   - POST /-/reload         reads the file again: 200 {"version":n}, 400 {"error":"..."} if refused
///   - GET  /config           the configuration in force, YAML
///   - PUT  /config           takes the YAML of the body, whole or not at all, like /-/reload;
///                            ?dry_run=1 only says what would change
///   - GET  /config/history   who changed what when, and the refusals, JSON, the newest first
///   - POST /config/rollback  goes back to what was in force before the last change
///
/// 504 after the deadline. Any other path is 404, any other method 405. HEAD is GET without a body.
///
/// What changes something needs the header "Authorization: Bearer TOKEN" where a token is set: 401
/// without. Where none is, only /-/reload works, and the rest is 403. A dry run needs none. Changes
/// from pages of other sites (Origin) are 403, bodies above 256 KiB are 413. Reading needs no token and
/// there is no TLS: bind it to an address that only operators reach, or put a proxy in front.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <pikv/messages/error.hpp>

namespace pikv::monitoring {

/// A change of the configuration that a client asks for.
struct config_request {
  enum class verb : std::uint8_t { check, apply, rollback };
  verb what = verb::check;
  std::string yaml; ///< empty for rollback
  std::string who;  ///< "http from ADDRESS"
};

/// What the endpoint asks its process. Called from several threads at once, except `reload`, which
/// runs on a thread of its own and one at a time. An exception counts as a failure (500).
struct http_handlers {
  std::function<std::string()> metrics; ///< text exposition
  std::function<bool()> healthy;        ///< empty: always
  std::function<bool()> ready;          ///< empty: always
  /// The new version. Empty: the path does not exist. It may block, but must end: stop() waits for
  /// it, while a client waits no longer than the deadline.
  std::function<result<std::uint64_t>()> reload;
  std::function<std::string()> config = {};  ///< YAML. Empty: /config does not exist, as all below
  std::function<std::string()> history = {}; ///< JSON
  /// The answer, JSON. Runs as `reload` does, in turn with it.
  std::function<result<std::string>(const config_request&)> change = {};
};

struct http_options {
  std::string address = "127.0.0.1"; ///< numeric, IPv4 or (where civetweb has it) IPv6
  std::uint16_t port = 0;            ///< 0: any free port
  std::uint32_t threads = 4;         ///< requests served at the same time
  std::chrono::nanoseconds reload_deadline = std::chrono::seconds{30};
  std::string token = {}; ///< that changes need; empty: none is set
};

/// start(), port(), stop() and the destructor belong to one thread at a time.
class http_server {
public:
  class impl;

  /// Listens and serves until stop(). Errors: invalid_argument (address, threads or a missing
  /// metrics handler), unsupported (IPv6 where civetweb
  /// has none), io_failed (the address or port cannot be bound).
  static result<http_server> start(const http_options& options, http_handlers handlers);

  http_server(http_server&&) noexcept;
  http_server& operator=(http_server&&) noexcept;
  ~http_server(); ///< stops

  /// The port it listens on; 0 once stopped.
  std::uint16_t port() const noexcept;

  /// Closes the port and ends all requests; those that wait for a reload get 503. Waits up to
  /// about four seconds for clients that are slow to read or write. May be called again. Not to be
  /// called from a handler.
  void stop() noexcept;

private:
  explicit http_server(std::unique_ptr<impl> x) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace pikv::monitoring
