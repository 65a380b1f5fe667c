// SPDX-License-Identifier: Apache-2.0
/// \file
/// A timeline of what streams did, of the whole process: spans on tracks, written in the Chrome
/// trace format that chrome://tracing and Perfetto read. Off until `start`; a span then costs one
/// relaxed load. All functions are thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace pikv::gpu::trace {

using clock = std::chrono::steady_clock;

namespace detail {
inline constinit std::atomic<bool> active{false};
}

inline bool on() noexcept { return detail::active.load(std::memory_order_relaxed); }

/// 32 bytes each.
inline constexpr std::size_t default_most_spans = std::size_t{1} << 20;

/// Forgets what was recorded and records from now on, at most this many spans: those that come
/// later are counted only. Takes the memory at once.
void start(std::size_t most_spans = default_most_spans);

/// Records no more; what was recorded stays until the next start.
void stop() noexcept;

struct span_count {
  std::size_t kept = 0;
  std::size_t dropped = 0; ///< came when the memory was full
};
span_count count() noexcept;

/// Writes what was recorded. Streams that record meanwhile wait, so `stop` comes first.
void write(std::ostream& out);

/// A line of the timeline, whose spans follow one another: a thread, or a stream of a GPU. While
/// it lives the line is its own; then the next track of that name takes it over.
class track {
public:
  explicit track(std::string name);
  ~track();
  track(const track&) = delete;
  track& operator=(const track&) = delete;

  /// Records a span, if tracing is on and was when the span began. `label` lives as long as the
  /// process.
  void add(const char* label, clock::time_point begin, clock::time_point end) const noexcept;

private:
  std::uint32_t line_;
};

/// A span from construction to destruction.
class scope {
public:
  scope(const track& on_track, const char* label) noexcept
      : track_(on_track), label_(label), begin_(on() ? clock::now() : clock::time_point{}) {}
  ~scope() {
    if (on() && begin_ != clock::time_point{})
      track_.add(label_, begin_, clock::now());
  }
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

private:
  const track& track_;
  const char* label_;
  clock::time_point begin_;
};

} // namespace pikv::gpu::trace
