// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a shard owner keeps for every sequence that has something on its device.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <pikv/actors/page_table.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

/// One layer of one sequence on this device.
struct owned_layer {
  std::uint32_t appended = 0; ///< tokens; home device only
  bool open_shared = false;   ///< a fork shares the page that the next token goes to
  leased_table window;        ///< sink page first, then sealed and open pages of shards
                              ///< in any order, then ascending; home device only
  leased_table settled;       ///< ascending; evicted pages stay as views without data
  /// Entry granularity, home device only: window pages whose entries were moved to open pages, the
  /// shards of the pages sealed so far, by number, and which open pages a fork shares, by shard.
  std::uint32_t scattered = 0;
  std::vector<std::uint16_t> sealed;
  std::vector<bool> shared_open;
  std::vector<float> key_direction; ///< as facts_of (page_keys.hpp); home device only
};

struct owned_sequence {
  lane_id lane{};
  bool pinned = false;
  bool shares = false; ///< it was forked or is a fork
  /// Set, from a stream's thread, when an append could not read its input: the slots hold nothing
  /// meaningful, so no later attend may read them.
  std::shared_ptr<std::atomic<bool>> broken = std::make_shared<std::atomic<bool>>(false);
  std::vector<owned_layer> layers;
};

} // namespace pikv
