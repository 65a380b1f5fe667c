// SPDX-License-Identifier: Apache-2.0
/// \file
/// Makes a server that sleeps in poll() on its listening port look up. Private to monitoring.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pikv::monitoring::detail {

/// The socket address of a numeric IPv4 or IPv6 address; family AF_UNSPEC when it is neither.
inline sockaddr_storage parse_address(const std::string& address, std::uint16_t port) noexcept {
  sockaddr_storage out{};
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&out, &v4, sizeof v4);
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&out, &v6, sizeof v6);
  }
  return out;
}

/// Connects to the port again and again until its destruction. Without it a civetweb server takes
/// two seconds to notice that it is to stop.
class port_waker {
public:
  port_waker(const std::string& address, std::uint16_t port) noexcept
      : to_(parse_address(address, port)) {
    try {
      thread_ = std::thread{[this] { run(); }};
    } catch (const std::system_error&) {
      // Without a thread the server stops all the same, only later.
    }
  }
  ~port_waker() {
    done_ = true;
    if (thread_.joinable())
      thread_.join();
  }
  port_waker(const port_waker&) = delete;
  port_waker& operator=(const port_waker&) = delete;

private:
  void run() noexcept {
    while (!done_) {
      const int fd = ::socket(to_.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      if (fd >= 0) {
        const auto bytes = to_.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        (void)::connect(fd, reinterpret_cast<const sockaddr*>(&to_), socklen_t(bytes));
        ::close(fd);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
  }

  sockaddr_storage to_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

} // namespace pikv::monitoring::detail
