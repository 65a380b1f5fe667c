// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/http_server.hpp>

#include <mutex>
#include <string_view>

#include <civetweb.h>
#include <fmt/format.h>

#include <pikv/monitoring/detail/http_routes.hpp>
#include <pikv/monitoring/detail/port_waker.hpp>

namespace pikv::monitoring {

namespace {

using detail::failure, detail::response;

int family_of(const std::string& address) noexcept {
  return detail::parse_address(address, 0).ss_family;
}

} // namespace

class http_server::impl {
public:
  impl(const http_options& options, http_handlers handlers)
      : options_(options), routes_(options, std::move(handlers)) {}

  ~impl() { stop(); }

  result<void> start() {
    const auto host =
        family_of(options_.address) == AF_INET6 ? "[" + options_.address + "]" : options_.address;
    const auto port = fmt::format("{}:{}", host, options_.port);
    const auto threads = fmt::format("{}", options_.threads);
    const char* settings[] = {"listening_ports",    port.c_str(), "num_threads", threads.c_str(),
                              "request_timeout_ms", "10000",      nullptr};
    mg_callbacks callbacks{};
    callbacks.begin_request = &impl::on_request;
    callbacks.log_message = &impl::on_log;
    context_ = mg_start(&callbacks, this, settings);
    if (!context_) {
      std::lock_guard guard{mutex_};
      return {errc::io_failed,
              fmt::format("cannot listen on {}{}{}; choose another metrics.port (0: any free one) "
                          "or metrics.address, or stop the process that holds it",
                          port, first_log_.empty() ? "" : ": ", first_log_)};
    }
    mg_server_port bound{};
    if (mg_get_server_ports(context_, 1, &bound) == 1)
      port_ = static_cast<std::uint16_t>(bound.port);
    return {};
  }

  void stop() noexcept {
    routes_.stop();
    if (!context_)
      return;
    {
      // Civetweb drops the answers of a server that stops: let those under way be written first.
      std::unique_lock lock{mutex_};
      stopping_ = true;
      idle_.wait_for(lock, std::chrono::seconds{2}, [&] { return active_ == 0; });
    }
    {
      const detail::port_waker waker{options_.address, port_};
      mg_stop(context_);
    }
    context_ = nullptr;
    port_ = 0;
  }

  std::uint16_t port() const noexcept { return port_; }

private:
  static impl& self(const mg_connection* connection) noexcept {
    return *static_cast<impl*>(mg_get_user_data(mg_get_context(connection)));
  }

  static int on_log(const mg_connection* connection, const char* message) noexcept {
    auto& x = self(connection);
    std::lock_guard guard{x.mutex_};
    try {
      if (x.first_log_.empty()) // the cause; what follows are its consequences
        x.first_log_ = message;
    } catch (...) {
      // No memory for a log line: the error goes without it.
    }
    return 1; // keeps it off the host process's standard error
  }

  static int on_request(mg_connection* connection) noexcept {
    try {
      const request_scope scope{self(connection)};
      const auto* info = mg_get_request_info(connection);
      const auto text = [](const char* p) { return std::string_view{p == nullptr ? "" : p}; };
      const detail::http_request x{connection, text(info->request_method), text(info->local_uri),
                                   text(info->query_string)};
      send(connection, self(connection).answer(x), x.method == "HEAD");
    } catch (const std::exception& e) {
      send_failure(connection, e.what());
    } catch (...) {
      send_failure(connection, "unknown");
    }
    return 1;
  }

  /// Counts a request as active while it lives.
  class request_scope {
  public:
    explicit request_scope(impl& owner) : owner_(owner) {
      std::lock_guard guard{owner_.mutex_};
      ++owner_.active_;
    }
    ~request_scope() {
      std::lock_guard guard{owner_.mutex_};
      if (--owner_.active_ == 0)
        owner_.idle_.notify_all();
    }
    request_scope(const request_scope&) = delete;
    request_scope& operator=(const request_scope&) = delete;

  private:
    impl& owner_;
  };

  response answer(const detail::http_request& x) {
    {
      std::lock_guard guard{mutex_};
      if (stopping_)
        return {503, detail::plain, "stopping\n"};
    }
    return routes_.answer(x);
  }

  static void send(mg_connection* connection, const response& x, bool head) {
    const auto out = detail::render(x, head);
    mg_write(connection, out.data(), out.size()); // a client that has gone is no error of ours
  }

  static void send_failure(mg_connection* connection, const char* what) noexcept {
    try {
      send(connection, failure(500, {errc::internal, what}), false);
    } catch (...) {
      // No memory even for the answer: the connection closes without one.
    }
  }

  http_options options_;
  detail::http_routes routes_;
  mg_context* context_ = nullptr;
  std::uint16_t port_ = 0;
  std::mutex mutex_; // guards what follows
  std::condition_variable idle_;
  std::size_t active_ = 0; // requests between their arrival and the end of their answer
  bool stopping_ = false;
  std::string first_log_;
};

http_server::http_server(std::unique_ptr<impl> x) noexcept : impl_(std::move(x)) {}
http_server::http_server(http_server&&) noexcept = default;
http_server& http_server::operator=(http_server&&) noexcept = default;
http_server::~http_server() = default;

result<http_server> http_server::start(const http_options& options, http_handlers handlers) {
  if (family_of(options.address) == AF_UNSPEC)
    return {errc::invalid_argument,
            fmt::format("metrics.address \"{}\" is not a numeric IPv4 or IPv6 address; 127.0.0.1 "
                        "serves this machine, 0.0.0.0 all networks",
                        options.address)};
  if (family_of(options.address) == AF_INET6 && mg_check_feature(MG_FEATURES_IPV6) == 0)
    return {errc::unsupported,
            "the civetweb library of this machine is built without IPv6; use an IPv4 address as "
            "metrics.address"};
  if (options.threads == 0 || options.threads > 64)
    return {errc::invalid_argument, "the HTTP endpoint needs 1 to 64 threads"};
  if (!handlers.metrics)
    return {errc::invalid_argument, "the HTTP endpoint needs a handler for /metrics"};
  auto x = std::make_unique<impl>(options, std::move(handlers));
  if (auto started = x->start(); !started)
    return started.error();
  return http_server{std::move(x)};
}

std::uint16_t http_server::port() const noexcept { return impl_->port(); }

void http_server::stop() noexcept { impl_->stop(); }

} // namespace pikv::monitoring
