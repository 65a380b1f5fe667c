// SPDX-License-Identifier: Apache-2.0
/// \file
/// One append on its way: written by every owner, kept or taken back with the other lanes, settled.
#pragma once

#include <map>
#include <memory>

#include <pikv/actors/router/state.hpp>

namespace pikv {

struct router_state::append_flow {
  client_request request;
  std::shared_ptr<const policy_set> policies;
  struct owner_part {
    append_work work;
    /// refused: by a typed error that leaves windows as they were. unknown: anything else, silence
    /// included.
    enum class outcome : std::uint8_t { unknown, done, refused } ended = outcome::unknown;
  };
  std::map<device_id, owner_part> owners;
  std::size_t waiting = 0;
  error failed;
  bool fenced = false; ///< it spans devices or lanes: nothing follows until all have answered, or
  bool lifted = false; ///< until all GPUs have it in their streams, where what follows comes behind
  std::shared_ptr<batch_vote> vote; ///< of a batch that spans lanes
};

/// The pages that one append pushed out, by the device that has their windows.
struct router_state::settle_flow {
  std::uint32_t layer = 0;
  std::shared_ptr<const policy_set> policies;
  std::map<device_id, std::vector<settle_order>> pages; ///< sequence and page, not placed yet
  gpu::block keys; ///< one home's: summaries of its pages, or the pages where entries are placed
};

} // namespace pikv
