// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/config_state.hpp>

#include <utility>

#include <pikv/config/config.hpp>

namespace pikv {

config_state::config_state(config::settings initial, std::string file)
    : file_(std::move(file)), settings_(std::move(initial)) {}

config::settings config_state::settings() const {
  std::lock_guard guard{mutex_};
  return settings_;
}

std::uint64_t config_state::version() const {
  std::lock_guard guard{mutex_};
  return version_;
}

result<std::uint64_t> config_state::take(const config::settings& next, const applier& apply) {
  std::lock_guard guard{mutex_};
  if (auto r = config::check_reload(settings_, next); !r)
    return r.error();
  if (auto r = apply(next, version_ + 1); !r)
    return r.error();
  last_keys_ = config::changed_keys(settings_, next);
  if (!last_keys_.empty())
    previous_ = settings_;
  settings_ = next;
  return ++version_;
}

std::optional<config::settings> config_state::previous() const {
  std::lock_guard guard{mutex_};
  return previous_;
}

void config_state::remember(const std::string& who, std::int64_t unix_seconds,
                            const result<std::uint64_t>& outcome) {
  std::lock_guard guard{mutex_};
  config_change x{version_, unix_seconds, who, {}, {}};
  if (!outcome)
    x.refused = outcome.error().what;
  else
    x.keys = last_keys_;
  history_.push_front(std::move(x));
  if (history_.size() > most_changes)
    history_.pop_back();
}

std::vector<config_change> config_state::history() const {
  std::lock_guard guard{mutex_};
  return {history_.begin(), history_.end()};
}

ticket_id config_state::wait_for(reload_promise p) {
  std::lock_guard guard{mutex_};
  ticket_id ticket{next_ticket_++};
  waiting_.emplace(ticket, std::move(p));
  return ticket;
}

void config_state::answer(ticket_id ticket, result<std::uint64_t> x) {
  reload_promise p;
  {
    std::lock_guard guard{mutex_};
    auto node = waiting_.extract(ticket);
    if (!node)
      return;
    p = std::move(node.mapped());
  }
  p->fill(std::move(x));
}

void config_state::answer_all(const error& why) {
  std::unordered_map<ticket_id, reload_promise> waiting;
  {
    std::lock_guard guard{mutex_};
    waiting.swap(waiting_);
  }
  for (auto& [ticket, p] : waiting)
    p->fill(why);
}

} // namespace pikv
