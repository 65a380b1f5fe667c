// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/labels.hpp>

namespace pikv::monitoring {

std::string_view to_string(kept_raw_reason x) noexcept {
  switch (x) {
  case kept_raw_reason::policy: return "policy";
  case kept_raw_reason::error: return "error";
  case kept_raw_reason::not_finite: return "not_finite";
  case kept_raw_reason::memory: return "memory";
  case kept_raw_reason::failed: return "failed";
  }
  return "unknown";
}

std::string_view to_string(stream_role x) noexcept {
  switch (x) {
  case stream_role::append: return "append";
  case stream_role::attend: return "attend";
  case stream_role::encode: return "encode";
  case stream_role::transfer: return "transfer";
  }
  return "unknown";
}

std::string_view to_string(transfer_path x) noexcept {
  switch (x) {
  case transfer_path::local: return "local";
  case transfer_path::host_to_device: return "host_to_device";
  case transfer_path::device_to_host: return "device_to_host";
  case transfer_path::device_to_device: return "device_to_device";
  case transfer_path::disk: return "disk";
  case transfer_path::nccl: return "nccl";
  case transfer_path::tcp: return "tcp";
  }
  return "unknown";
}

std::string_view to_string(actor_kind x) noexcept {
  switch (x) {
  case actor_kind::router: return "router";
  case actor_kind::shard_owner: return "shard_owner";
  case actor_kind::compressor: return "compressor";
  case actor_kind::stream_scheduler: return "stream_scheduler";
  case actor_kind::transfer: return "transfer";
  case actor_kind::config_watcher: return "config_watcher";
  case actor_kind::metrics: return "metrics";
  case actor_kind::supervisor: return "supervisor";
  }
  return "unknown";
}

std::string_view to_string(reload_result x) noexcept {
  switch (x) {
  case reload_result::success: return "success";
  case reload_result::refused: return "refused";
  }
  return "unknown";
}

} // namespace pikv::monitoring
