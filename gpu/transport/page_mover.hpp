// SPDX-License-Identifier: Apache-2.0
/// \file
/// Moves pages between the logical devices of this process. One interface, two ways: copies by the
/// target's device (copy_mover.hpp) and NCCL (nccl/nccl_mover.hpp). page_movers knows which way
/// leads from where to where.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <pikv/gpu/device.hpp>
#include <pikv/messages/move_path.hpp>

namespace pikv::gpu::transport {

/// A logical device as moves see it.
struct end_point {
  std::shared_ptr<device> where;
  stream* copies = nullptr; ///< its copy stream, which outlives every move to it
};

/// The bytes of from[i], on `source`, go to to[i], on `target`, which is as long.
struct page_move {
  device_id source{}, target{};
  std::vector<block> from, to;
  std::chrono::steady_clock::time_point deadline;
};

class page_mover {
public:
  virtual ~page_mover() = default;
  virtual bool through_nccl() const noexcept = 0;

  /// The stream in whose tasks moves to `target` are made.
  virtual stream& stream_to(device_id target) noexcept = 0;

  /// Copies and verifies: ok says that the targets hold what the sources held. Called by a task of
  /// `stream_to(x.target)` with its executor, when nothing writes the sources any more. Blocks,
  /// that stream's thread only. errc::corrupt_page where checksums differ, errc::deadline_exceeded
  /// where it comes too late or takes too long. After an error the targets hold anything; blocks
  /// that may still be written are kept alive by the mover.
  virtual result<void> move(const page_move& x, executor& e) = 0;
};

class copy_mover;

/// The movers of one transfer actor. What `between` returns may be kept by tasks in flight.
class page_movers {
public:
  /// ends[i] is logical device i. May build an NCCL group, which blocks for seconds.
  /// errc::unsupported, and what to do, where `path` cannot serve a pair of devices.
  static result<page_movers> make(move_path path, std::vector<end_point> ends);

  const std::shared_ptr<page_mover>& between(device_id source, device_id target) const noexcept;
  /// Whether every device reaches the memory of every other.
  bool all_reach() const noexcept { return all_reach_; }
  /// Blocks until the moves that do not run on the devices' own streams have ended.
  void synchronize() const;

private:
  std::size_t devices_ = 0;
  bool all_reach_ = true;
  std::vector<std::shared_ptr<page_mover>> routes_; ///< [source, target]
  std::shared_ptr<page_mover> nccl_;                ///< null where no route needs it
  std::shared_ptr<copy_mover> copies_;
};

/// errc::unsupported where no move could ever take `path` on this backend in this build.
result<void> check_path(move_path path, std::string_view backend);

// For the movers.

std::vector<std::span<const std::byte>> runs_of(const std::vector<block>& blocks);

/// ok, or errc::corrupt_page for the first block whose checksums differ.
result<void> compare_checksums(const page_move& x, std::span<const std::uint64_t> sent,
                               std::span<const std::uint64_t> arrived);

/// errc::deadline_exceeded when the move's deadline has passed.
result<void> check_deadline(const page_move& x);

} // namespace pikv::gpu::transport
