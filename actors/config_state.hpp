// SPDX-License-Identifier: Apache-2.0
/// \file
/// The configuration of a runtime: what is in force, where it comes from, what changed when, and
/// who waits for a reload. Thread-safe. The config watcher is the only one that changes it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <pikv/actors/completion.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

/// One change that was asked for.
struct config_change {
  std::uint64_t version = 0;     ///< in force behind it
  std::int64_t unix_seconds = 0; ///< when
  std::string who;               ///< asked for it
  std::vector<std::string> keys; ///< that differ from what was in force before
  std::string refused;           ///< why; empty: it was taken
};

class config_state {
public:
  static constexpr std::size_t most_changes = 100; ///< that are remembered

  using reload_promise = std::shared_ptr<detail::completion_state<std::uint64_t>>;
  /// Makes the policies of new settings and puts them in force under the version; refuses them
  /// otherwise. Before a cache is open it only checks them.
  using applier = std::function<result<void>(const config::settings&, std::uint64_t version)>;

  config_state(config::settings initial, std::string file);

  const std::string& file() const noexcept { return file_; }
  config::settings settings() const;
  std::uint64_t version() const;

  /// Checks `next` against what is in force (restart keys) and applies it. Returns the new version.
  result<std::uint64_t> take(const config::settings& next, const applier& apply);
  /// What was in force before the last change that was taken; none before the first.
  std::optional<config::settings> previous() const;
  /// Remembers a change: what `take` or parsing before it came to.
  void remember(const std::string& who, std::int64_t unix_seconds,
                const result<std::uint64_t>& outcome);
  /// The newest first.
  std::vector<config_change> history() const;

  /// A client waits for a reload.
  ticket_id wait_for(reload_promise p);
  void answer(ticket_id ticket, result<std::uint64_t> x);
  void answer_all(const error& why);

private:
  mutable std::mutex mutex_;
  std::string file_;
  config::settings settings_;
  std::optional<config::settings> previous_; // what differed from settings_
  std::vector<std::string> last_keys_;       // of the last change that was taken
  std::deque<config_change> history_;        // the newest first
  std::uint64_t version_ = 1;
  std::uint64_t next_ticket_ = 1;
  std::unordered_map<ticket_id, reload_promise> waiting_;
};

} // namespace pikv
