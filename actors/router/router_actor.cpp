// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/router/router_actor.hpp>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include <caf/actor_system.hpp>
#include <fmt/format.h>

#include <pikv/actors/router/state.hpp>

namespace pikv {

namespace {

router_actor::behavior_type router_behaviour(router_state::pointer self, context_ptr context,
                                             lane_id lane, std::uint64_t first_sequence) {
  self->state.start(self, std::move(context), lane, first_sequence);
  return {
      [=](const client_request& r) { self->state.enqueue(r); },
      [=](const stream_done& x) { self->state.finish(x); },
      [=](decided_atom, ticket_id ticket) { self->state.decided(ticket); },
      [=](tick_atom) { self->state.tick(); },
      [=](crash_atom) { throw std::runtime_error("crash asked for by a test"); },
  };
}

} // namespace

router_actor spawn_router(caf::actor_system& system, context_ptr context, lane_id lane) {
  // Read here: the behaviour runs later, when the first sequences may be open already.
  const auto first_sequence = context->first_unused_sequence();
  return system.spawn(router_behaviour, std::move(context), lane, first_sequence);
}

void router_state::start(pointer self, context_ptr context, lane_id lane,
                         std::uint64_t first_sequence) {
  self_ = self;
  context_ = std::move(context);
  lane_ = lane;
  first_sequence_ = first_sequence;
  const auto& cache = context_->settings.cache;
  geometry_ = {cache.sinks, cache.page_tokens, cache.window};
  auto devices = static_cast<std::uint32_t>(context_->devices.size());
  sequences_ = {context_->shape.layers, devices};
  shards_ = shard_statistics{cache.shards};
  for (std::uint32_t d = 0; d < devices; ++d)
    owners_.push_back(context_->owners.get(d));
  probe_ = context_->metrics->router(lane);
  actor_probe_ = context_->metrics->actor(monitoring::actor_kind::router, lane.value);
}

router_state::~router_state() {
  const error why{errc::actor_down, "the router of this sequence went down; retry"};
  for (const auto& r : queue_)
    context_->requests.end(r.ticket, why);
  context_->sequences.fetch_sub(sequences_.counted());
}

void router_state::enqueue(client_request r) {
  if (!audits_.contains(r.ticket)) // an audit is not traffic
    probe_->request_begun(r.kind);
  queue_.push_back(std::move(r));
  pump();
}

void router_state::pump() {
  while (!queue_.empty()) {
    auto q = context_->requests.find(queue_.front().ticket);
    if (q && (fenced(queue_.front()) || (turns_ > 0 && q->buffers.ready.recorded())))
      return;
    auto r = std::move(queue_.front());
    queue_.pop_front();
    if (q)
      dispatch(r, q);
    else if (audits_.erase(r.ticket) == 0) // it ended while it waited
      probe_->request_ended(r.kind, errc::deadline_exceeded, 0);
  }
}

bool router_state::fenced(const client_request& r) {
  for (const auto& part : r.parts) {
    auto* s = sequences_.find(part.sequence);
    if (s == nullptr)
      continue;
    if (r.kind == request_kind::append || r.kind == request_kind::attend) {
      if (r.layer < s->layers.size() && s->layers[r.layer].fences > 0)
        return true;
    } else if (r.kind != request_kind::annotate) {
      for (const auto& layer : s->layers)
        if (layer.fences > 0)
          return true;
    }
  }
  return false;
}

void router_state::dispatch(const client_request& r, const std::shared_ptr<request>& q) {
  notice_restarts();
  switch (r.kind) {
  case request_kind::append: return append(r, q);
  case request_kind::annotate: return annotate(r, q);
  case request_kind::attend: return attend(r, q);
  case request_kind::open: return open(r);
  case request_kind::fork: return fork(r, q);
  case request_kind::close: return change(r, q, sequence_verb::close);
  case request_kind::pin: return change(r, q, sequence_verb::pin);
  case request_kind::unpin: return change(r, q, sequence_verb::unpin);
  case request_kind::usage: return usage(r, q);
  }
}

void router_state::notice_restarts() {
  for (std::uint32_t d = 0; d < owners_.size(); ++d) {
    auto now = context_->owners.get(d);
    if (now.incarnation == owners_[d].incarnation)
      continue;
    owners_[d] = std::move(now);
    sequences_.lose_device({d}, [this](sequence_id x) { return context_->home_of(x); });
  }
}

bool router_state::try_end(const client_request& r, result<request_outcome> x) {
  auto q = context_->requests.find(r.ticket);
  auto code = x.code();
  auto begun = q ? q->begun : request::clock::now();
  const bool first = context_->requests.end(r.ticket, std::move(x));
  std::chrono::duration<double> seconds = request::clock::now() - begun;
  if (auto audit = audits_.extract(r.ticket); audit)
    audit.mapped()();
  else // what the client has heard, which may have been the deadline before this
    probe_->request_ended(r.kind, first ? code : errc::deadline_exceeded, seconds.count());
  if (!waiting_audits_.empty() && queue_.empty()
      && context_->lanes[lane_.value].in_flight.load(std::memory_order_relaxed) == 0)
    begin_audit();
  return first;
}

result<sequence_record*> router_state::usable(sequence_id x, bool allow_broken) {
  auto* s = sequences_.find(x);
  if (s == nullptr) {
    if (context_->was_issued(x)
        && x.value < std::max(first_sequence_, context_->lanes[lane_.value].lost_before.load()))
      return {errc::sequence_lost,
              fmt::format("sequence {} was lost when its router restarted; open it anew", x.value)};
    if (context_->was_issued(x))
      return {errc::sequence_closed, fmt::format("sequence {} was closed", x.value)};
    return {errc::unknown_sequence,
            fmt::format("sequence {} was never opened in this cache", x.value)};
  }
  if (s->broken && !allow_broken)
    return {
        errc::sequence_lost,
        fmt::format("sequence {} lost its window with a failed device or an append that did not "
                    "finish; close it and open it anew",
                    x.value)};
  return s;
}

void router_state::fence(sequence_id x, std::uint32_t layer, int change) {
  if (auto* s = sequences_.find(x))
    s->layers[layer].fences += static_cast<std::uint32_t>(change);
}

caf::duration router_state::time_left(const request& q) const {
  auto left = q.deadline - request::clock::now();
  constexpr auto least = std::chrono::milliseconds{1};
  return caf::duration{std::max(std::chrono::duration_cast<std::chrono::microseconds>(left),
                                std::chrono::microseconds{least})};
}

void router_state::tick() {
  const auto now = request::clock::now();
  std::deque<owed_flow> later;
  for (auto& x : std::exchange(owed_, {}))
    if (x.deadline <= now)
      x.give_up();
    else if (!x.flow.expired())
      later.push_back(std::move(x));
  std::ranges::move(later, std::back_inserter(owed_)); // behind what giving up has begun
  auto& lane = context_->lanes[lane_.value];
  probe_->in_flight(lane.in_flight.load(std::memory_order_relaxed));
  for (auto n = lane.overloaded.exchange(0, std::memory_order_relaxed); n > 0; --n)
    probe_->refused_overloaded();
  for (auto n = lane.deadline_missed.exchange(0, std::memory_order_relaxed); n > 0; --n)
    probe_->deadline_missed();
  actor_probe_->mailbox_depth(self_->mailbox().size());
  begin_audit();
  rebalance();
  probe_->fidelity(fidelity_.coverage(), fidelity_.held());
  probe_->flush();
}

} // namespace pikv
