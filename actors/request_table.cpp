// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/request_table.hpp>

#include <utility>

namespace pikv {

request::pin& request::pin::operator=(pin&& other) noexcept {
  if (this != &other) {
    drop();
    request_ = std::move(other.request_);
  }
  return *this;
}

void request::pin::drop() noexcept {
  if (auto r = std::exchange(request_, nullptr))
    r->unpin();
}

request::pin request::try_pin() {
  std::lock_guard guard{mutex_};
  if (ended_)
    return {};
  ++pins_;
  return pin{shared_from_this()};
}

/// The client's stream goes first: a callback of the client may want to see it go on.
void request::tell(result<request_outcome> x) {
  if (buffers.ticket)
    buffers.ticket->end(x.code());
  publish(std::move(x));
}

bool request::end(result<request_outcome> x) {
  // A stream that waits may be what keeps a kernel from starting: a failure lets it go at once.
  if (!x && buffers.ticket)
    buffers.ticket->end(x.code());
  {
    std::lock_guard guard{mutex_};
    if (ended_)
      return false;
    ended_ = true;
    if (pins_ > 0) {
      outcome_ = std::make_unique<result<request_outcome>>(std::move(x));
      return true;
    }
  }
  tell(std::move(x));
  return true;
}

void request::unpin() {
  std::unique_ptr<result<request_outcome>> outcome;
  {
    std::lock_guard guard{mutex_};
    if (--pins_ == 0)
      outcome = std::move(outcome_);
  }
  if (outcome)
    tell(std::move(*outcome));
}

ticket_id request_table::add(std::shared_ptr<request> r) {
  std::lock_guard guard{mutex_};
  ticket_id ticket{next_++};
  requests_.emplace(ticket, std::move(r));
  return ticket;
}

std::shared_ptr<request> request_table::find(ticket_id ticket) const {
  std::lock_guard guard{mutex_};
  auto it = requests_.find(ticket);
  return it == requests_.end() ? nullptr : it->second;
}

bool request_table::end(ticket_id ticket, result<request_outcome> x) {
  std::shared_ptr<request> r;
  {
    std::lock_guard guard{mutex_};
    auto node = requests_.extract(ticket);
    if (!node)
      return false;
    r = std::move(node.mapped());
  }
  return r->end(std::move(x));
}

template <class Predicate>
std::size_t request_table::end_if(Predicate&& p, const error& why) {
  std::vector<std::shared_ptr<request>> ended;
  {
    std::lock_guard guard{mutex_};
    for (auto it = requests_.begin(); it != requests_.end();) {
      if (p(*it->second)) {
        ended.push_back(std::move(it->second));
        it = requests_.erase(it);
      } else {
        ++it;
      }
    }
  }
  // Outside the lock: publishing runs the client's callbacks.
  for (auto& r : ended)
    r->end(why);
  return ended.size();
}

std::size_t request_table::sweep(clock::time_point now) {
  return end_if([now](const request& r) { return r.deadline <= now; },
                {errc::deadline_exceeded, "the request did not end before its deadline; retry, or "
                                          "raise limits.deadline"});
}

std::size_t request_table::end_lane(lane_id lane, std::uint64_t before, const error& why) {
  return end_if([=](const request& r) { return r.lane == lane && r.incarnation < before; }, why);
}

std::size_t request_table::end_all(const error& why) {
  return end_if([](const request&) { return true; }, why);
}

std::size_t request_table::size() const {
  std::lock_guard guard{mutex_};
  return requests_.size();
}

} // namespace pikv
