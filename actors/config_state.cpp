// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/config_state.hpp>

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
  settings_ = next;
  return ++version_;
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
