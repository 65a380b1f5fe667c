// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the scheduler hears of pages, and what it asks of their owners.
#pragma once

#include <cstdint>
#include <vector>

#include <pikv/messages/attend_messages.hpp>

namespace pikv {

/// Router to scheduler: pages that settled, and how long the (sequence, layer) is now.
struct settled_event {
  std::uint64_t config_version = 0;
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::uint64_t entries = 0; ///< tokens appended to the layer
  std::vector<settle_order> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, settled_event& x) {
  return f(caf::meta::type_name("settled_event"), x.config_version, x.layer, x.sequence, x.entries,
           x.pages);
}

/// Router to scheduler: one attend has read these pages.
struct attended_event {
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::uint32_t rows = 0;
  std::vector<page_use> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, attended_event& x) {
  return f(caf::meta::type_name("attended_event"), x.layer, x.sequence, x.rows, x.pages);
}

/// Owner to scheduler: the device needs this much room; answered when pages were evicted.
struct reclaim_work {
  device_id device{};
  std::uint64_t bytes = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reclaim_work& x) {
  return f(caf::meta::type_name("reclaim_work"), x.device, x.bytes);
}

struct reclaim_done {
  std::uint64_t pages = 0; ///< evicted
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, reclaim_done& x) {
  return f(caf::meta::type_name("reclaim_done"), x.pages);
}

/// Scheduler to owner: drop these pages.
struct evict_work {
  evict_reason reason = evict_reason::budget;
  std::uint32_t layer = 0;
  sequence_id sequence{};
  std::vector<std::uint32_t> pages;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, evict_work& x) {
  return f(caf::meta::type_name("evict_work"), x.reason, x.layer, x.sequence, x.pages);
}

} // namespace pikv
