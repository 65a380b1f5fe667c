// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/kinds.hpp>

namespace pikv {

std::string_view to_string(request_kind x) noexcept {
  switch (x) {
  case request_kind::open: return "open";
  case request_kind::fork: return "fork";
  case request_kind::close: return "close";
  case request_kind::pin: return "pin";
  case request_kind::unpin: return "unpin";
  case request_kind::append: return "append";
  case request_kind::annotate: return "annotate";
  case request_kind::attend: return "attend";
  case request_kind::usage: return "usage";
  }
  return "unknown";
}

std::string_view to_string(evict_reason x) noexcept {
  switch (x) {
  case evict_reason::budget: return "budget";
  case evict_reason::pressure: return "pressure";
  case evict_reason::ring: return "ring";
  }
  return "unknown";
}

} // namespace pikv
