// SPDX-License-Identifier: Apache-2.0
/// \file
/// The configuration of a runtime: what is in force, where it comes from, and who waits for a
/// reload. Thread-safe. The config watcher is the only one that changes it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include <pikv/actors/completion.hpp>
#include <pikv/config/settings.hpp>
#include <pikv/messages/types.hpp>

namespace pikv {

class config_state {
public:
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

  /// A client waits for a reload.
  ticket_id wait_for(reload_promise p);
  void answer(ticket_id ticket, result<std::uint64_t> x);
  void answer_all(const error& why);

private:
  mutable std::mutex mutex_;
  std::string file_;
  config::settings settings_;
  std::uint64_t version_ = 1;
  std::uint64_t next_ticket_ = 1;
  std::unordered_map<ticket_id, reload_promise> waiting_;
};

} // namespace pikv
