// SPDX-License-Identifier: Apache-2.0
/// \file
/// One row of an attend: its route, then the pages that it reads inside it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pikv/actors/choice/located_pages.hpp>

namespace pikv {

/// The pages of one part and what its rows read of them.
struct part_view : located_pages {
  std::size_t capacity = 0;          ///< most pages that one list of this part can hold
  std::vector<std::uint32_t> lists;  ///< `[tokens, scopes, capacity]` of indices into `pages`
  std::vector<std::uint32_t> counts; ///< `[tokens, scopes]`
};

/// Reused between the rows that one worker plans; the counts add up over them.
struct row_workspace {
  std::vector<float> gathered, shares, shard_mass, rest;
  std::vector<std::uint8_t> allowed, in_route;
  std::vector<std::uint32_t> shard_pages, shard_gone, order, chosen;
  std::vector<double> read, gone; ///< by shard, as shard_use
  std::uint64_t not_routed = 0, not_selected = 0, evicted = 0;
  double routed = 0;
};

/// Const members may be called from several threads at once, for different rows and workspaces.
class row_planner {
public:
  row_planner(const plan_input& in, std::uint32_t scopes, std::vector<part_view>& views);

  void plan(std::size_t part, std::uint32_t token, row_workspace& w) const;

private:
  enum class score : std::uint8_t { mass, bound, certain };

  std::uint64_t route(std::size_t part, std::uint32_t token, std::size_t old,
                      row_workspace& w) const;
  void route_by_policy(std::size_t part, std::uint32_t token, std::size_t old,
                       row_workspace& w) const;
  void take_rest(std::size_t part, std::uint32_t token, row_workspace& w) const;
  void choose(part_view& v, std::uint32_t token, std::uint32_t scope, std::size_t old,
              row_workspace& w) const;
  void share(const part_view& v, std::uint32_t token, std::uint32_t head, std::uint32_t heads,
             std::size_t old, score kind, bool of_total, row_workspace& w) const;
  const float* scores(const part_view& v, std::uint32_t token, std::uint32_t head,
                      std::uint32_t heads, std::size_t old, score kind, std::size_t& stride,
                      row_workspace& w) const;

  const plan_input& in_;
  std::uint32_t scopes_;
  std::vector<part_view>& views_;
  const gpu::cache_dims& dims_;
  std::vector<std::uint32_t> owners_; ///< device of each shard
};

} // namespace pikv
