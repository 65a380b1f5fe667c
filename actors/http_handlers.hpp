// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a runtime answers over HTTP (monitoring/http_server.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <pikv/actors/completion.hpp>
#include <pikv/actors/config_state.hpp>
#include <pikv/messages/protocol.hpp>
#include <pikv/monitoring/http_server.hpp>
#include <pikv/monitoring/metrics.hpp>

namespace pikv {

/// What the answers are made from. Called from the server's threads.
struct http_source {
  std::shared_ptr<config_state> state;
  std::shared_ptr<monitoring::metrics> metrics;
  std::function<bool()> ready;
  /// As reload_work; ends with the new version.
  std::function<completion<std::uint64_t>(reload_source, std::string text, std::string who)> reload;
};

monitoring::http_handlers make_http_handlers(http_source x);

/// The token in a file, without blanks around it; empty for no file. Errors: io_failed;
/// config_value for one of less than 16 characters, which could be guessed.
result<std::string> read_token(const std::string& file);

} // namespace pikv
