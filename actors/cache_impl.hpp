// SPDX-License-Identifier: Apache-2.0
/// \file
/// Behind the public face: gives tickets and hands requests to the routers.
#pragma once

#include <memory>
#include <shared_mutex>
#include <vector>

#include <pikv/actors/cache.hpp>
#include <pikv/actors/context.hpp>

namespace pikv {

/// One per cache. Thread-safe.
class cache::impl {
public:
  explicit impl(context_ptr context) : context_(std::move(context)) {}

  cache_context& context() noexcept { return *context_; }

  /// What a call asks for, whatever lanes its sequences are in.
  struct call {
    request_kind kind = request_kind::open;
    std::uint32_t layer = 0;
    std::vector<work_part> parts;
    request_buffers buffers;
    std::chrono::nanoseconds deadline{0}; ///< 0: the configuration's
    bool exact = false;
    bool allow_lost = false;
  };

  /// Puts a call behind what a stream of the caller has been given, and gives it a ticket for that
  /// stream's later work; null: nothing to do.
  result<void> put_behind(call& c, void* stream);

  /// Sends one request per lane that the parts touch. `publish` hears once, when all have ended: of
  /// the first error, or of the sum of all outcomes.
  void submit(call c, request::publisher publish);

private:
  /// `vote`: null, or that of an append over several lanes.
  void submit_lane(const call& c, lane_id lane, std::vector<work_part> parts,
                   std::shared_ptr<const policy_set> policies, std::shared_ptr<batch_vote> vote,
                   request::publisher publish);

  context_ptr context_;
};

} // namespace pikv
