// SPDX-License-Identifier: Apache-2.0
/// \file
/// A raw-socket HTTP client over loopback, so that the server is tested by its bytes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace pikv::test {

/// A connection to 127.0.0.1 that closes itself. Reads give up after 20 s.
class tcp_connection {
public:
  explicit tcp_connection(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  ~tcp_connection() { ::close(fd_); }
  tcp_connection(const tcp_connection&) = delete;
  tcp_connection& operator=(const tcp_connection&) = delete;

  bool connected() const noexcept { return connected_; }

  void write(std::string_view text) {
    while (!text.empty()) {
      const auto n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0)
        return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  /// Everything until the other side closes.
  std::string read_all() {
    std::string out;
    char buffer[4096];
    for (;;) {
      const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0)
        return out;
      out.append(buffer, static_cast<std::size_t>(n));
    }
  }

private:
  int fd_;
  bool connected_ = false;
};

struct http_reply {
  int status = 0; ///< 0: no connection or no answer
  std::string head;
  std::string body;

  /// The value of a header field, matched by its exact spelling; empty when absent.
  std::string field(std::string_view name) const {
    const auto key = "\r\n" + std::string{name} + ": ";
    const auto at = head.find(key);
    if (at == std::string::npos)
      return {};
    const auto begin = at + key.size();
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

inline http_reply parse_reply(const std::string& bytes) {
  http_reply out;
  const auto end = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.1 ") || end == std::string::npos)
    return out;
  out.status = std::atoi(bytes.c_str() + 9);
  out.head = bytes.substr(0, end + 2);
  out.body = bytes.substr(end + 4);
  return out;
}

/// `fields`: further lines of the header, each with its "\r\n".
inline http_reply http_request(std::uint16_t port, std::string_view method, std::string_view path,
                               std::string_view fields = {}, std::string_view body = {}) {
  tcp_connection connection{port};
  if (!connection.connected())
    return {};
  connection.write(std::string{method} + " " + std::string{path}
                   + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                   + std::to_string(body.size()) + "\r\n" + std::string{fields} + "\r\n");
  connection.write(body);
  return parse_reply(connection.read_all());
}

inline http_reply http_get(std::uint16_t port, std::string_view path) {
  return http_request(port, "GET", path);
}
inline http_reply http_post(std::uint16_t port, std::string_view path) {
  return http_request(port, "POST", path);
}

} // namespace pikv::test
