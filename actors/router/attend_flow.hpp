// SPDX-License-Identifier: Apache-2.0
/// \file
/// One attend on its way: survey (where scores are needed), plan, read on every owner, merge.
#pragma once

#include <memory>
#include <vector>

#include <pikv/actors/router/state.hpp>

namespace pikv {

struct router_state::owner_work {
  device_id device{};
  shard_owner_actor handle;         ///< the same one from survey to release
  std::vector<std::uint32_t> parts; ///< indices into request.parts
  attend_done done;
  gpu::block out, lse, page_lse, facts; ///< partial, shared while it is merged
  gathering gather;                     ///< with `gathers`
};

struct router_state::attend_flow {

  client_request request;
  std::shared_ptr<pikv::request> client;
  std::shared_ptr<const policy_set> policies;
  std::vector<owner_work> owners;
  bool chooses = false;  ///< the owners choose what is read: the one that has all pages, or
  bool gathers = false;  ///< all of them, after each has shared its pages
  bool merged = false;
  bool surveyed = false; ///< the router has chosen from surveys
  bool mass = false;    ///< the scheduler wants each page's attention mass
  bool audited = false; ///< computed once more, in full, after the client has been served
  bool ended = false;   ///< failed on the way: later answers are ignored
  bool in_turn = false; ///< later requests of streams wait until all its work is enqueued
  std::size_t waiting = 0;
  std::uint64_t lost = 0;
  known_gates gates;
  std::vector<gpu::block> areas; ///< with `gathers`
  shard_facts shards; ///< as known when the attend began
  std::shared_ptr<plan_input> in;
  std::shared_ptr<plan_output> out = std::make_shared<plan_output>();
  std::vector<std::vector<page_use>> uses; ///< per part, with mass

  std::vector<work_part> parts_of(const owner_work& o) const {
    std::vector<work_part> list;
    for (auto i : o.parts)
      list.push_back(request.parts[i]);
    return list;
  }
  bool direct() const noexcept { return owners.size() == 1 && !mass; }
};

/// What an owner keeps for a request goes with the owner.
error owner_gone();

} // namespace pikv
