// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/error.hpp>

namespace pikv {

std::string_view to_string(errc x) noexcept {
  switch (x) {
  case errc::ok: return "ok";
  case errc::invalid_argument: return "invalid_argument";
  case errc::shape_mismatch: return "shape_mismatch";
  case errc::dtype_mismatch: return "dtype_mismatch";
  case errc::null_buffer: return "null_buffer";
  case errc::out_of_range: return "out_of_range";
  case errc::position_gap: return "position_gap";
  case errc::unknown_sequence: return "unknown_sequence";
  case errc::sequence_closed: return "sequence_closed";
  case errc::not_finite: return "not_finite";
  case errc::over_budget: return "over_budget";
  case errc::overloaded: return "overloaded";
  case errc::deadline_exceeded: return "deadline_exceeded";
  case errc::cancelled: return "cancelled";
  case errc::actor_down: return "actor_down";
  case errc::sequence_lost: return "sequence_lost";
  case errc::entries_lost: return "entries_lost";
  case errc::corrupt_page: return "corrupt_page";
  case errc::unknown_policy: return "unknown_policy";
  case errc::config_syntax: return "config_syntax";
  case errc::config_key: return "config_key";
  case errc::config_value: return "config_value";
  case errc::config_restart: return "config_restart";
  case errc::io_failed: return "io_failed";
  case errc::model_file: return "model_file";
  case errc::unsupported: return "unsupported";
  case errc::internal: return "internal";
  }
  return "unknown";
}

bool retryable(errc x) noexcept {
  switch (x) {
  case errc::over_budget:
  case errc::overloaded:
  case errc::deadline_exceeded:
  case errc::actor_down: return true;
  default: return false;
  }
}

std::string to_string(const error& x) {
  std::string text{to_string(x.code)};
  if (!x.what.empty())
    text += ": " + x.what;
  return text;
}

} // namespace pikv
