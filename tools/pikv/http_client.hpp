// SPDX-License-Identifier: Apache-2.0
/// \file
/// One request to the HTTP endpoint of a running process.
#pragma once

#include <chrono>
#include <string>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

struct http_call {
  std::string url;  ///< http:// or https://
  bool put = false; ///< PUT with `body`; otherwise GET
  std::string body = {};
  std::string token = {}; ///< "Authorization: Bearer"; empty: none
  std::chrono::milliseconds deadline = std::chrono::seconds{10}; ///< of the whole request
};

struct http_answer {
  long status = 0;
  std::string body;
};

/// Blocks until the answer is there, at most for the deadline. Goes to the address itself: no
/// proxy, no redirect, so that a token reaches nobody else. Errors: io_failed (no answer, or more
/// than 16 MiB), deadline_exceeded.
result<http_answer> send(const http_call& x);

} // namespace pikv::tools
