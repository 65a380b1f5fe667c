// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/cache_impl.hpp>

#include <map>
#include <mutex>

#include <caf/send.hpp>
#include <fmt/format.h>

namespace pikv {

namespace {

error stopped() { return {errc::cancelled, "the runtime has stopped; start a new one"}; }

/// Joins the outcomes of several lanes.
struct joined {
  std::mutex mutex;
  std::size_t waiting = 0;
  result<request_outcome> sum{request_outcome{}};
  double rows_of_sum = 0;
  request::publisher publish;

  void add(result<request_outcome> x) {
    std::unique_lock guard{mutex};
    if (!x && sum.ok())
      sum = x.error();
    if (x && sum.ok()) {
      auto& s = sum->attend;
      const auto& a = x->attend;
      // Rows weigh by what exists for them; exact when lanes have equal rows.
      const auto before = static_cast<double>(s.entries.existing);
      const auto more = static_cast<double>(a.entries.existing);
      if (before + more > 0)
        s.routed_shards = (s.routed_shards * before + a.routed_shards * more) / (before + more);
      s.entries += a.entries;
      s.config_version = a.config_version;
      sum->usage = x->usage;
    }
    if (--waiting == 0) {
      guard.unlock();
      publish(std::move(sum));
    }
  }
};

} // namespace

result<void> cache::impl::put_behind(call& c, void* stream) {
  if (stream == nullptr)
    return {};
  auto& device = *context_->devices.front().device;
  auto ready = device.follow(stream);
  if (!ready)
    return ready.error();
  auto ticket = device.make_ticket(c.kind == request_kind::append);
  if (!ticket)
    return ticket.error();
  c.buffers.ready = std::move(*ready);
  c.buffers.ticket = std::move(*ticket);
  return {};
}

void cache::impl::submit(call c, request::publisher publish) {
  std::shared_lock gate{context_->gate};
  if (context_->stopped.load()) {
    if (c.buffers.ticket)
      c.buffers.ticket->end(errc::cancelled);
    return publish(stopped());
  }
  auto policies = context_->policies.current();
  std::map<lane_id, std::vector<work_part>> lanes;
  for (const auto& part : c.parts)
    lanes[context_->lane_of(part.sequence)].push_back(part);
  if (lanes.empty())
    lanes[lane_id{0}] = {};
  if (lanes.size() == 1) {
    auto& [lane, parts] = *lanes.begin();
    return submit_lane(c, lane, std::move(parts), std::move(policies), nullptr, std::move(publish));
  }
  auto join = std::make_shared<joined>();
  join->waiting = lanes.size();
  join->publish = std::move(publish);
  if (auto ticket = std::move(c.buffers.ticket)) // it passes when all lanes have ended
    join->publish = [ticket, f = std::move(join->publish)](result<request_outcome> x) {
      ticket->end(x.code());
      f(std::move(x));
    };
  std::unique_lock order{context_->batches, std::defer_lock};
  std::shared_ptr<batch_vote> vote;
  if (c.kind == request_kind::append) {
    order.lock();
    vote = std::make_shared<batch_vote>(lanes.size());
  }
  for (auto& [lane, parts] : lanes)
    submit_lane(c, lane, std::move(parts), policies, vote, [join, vote](result<request_outcome> x) {
      if (vote && !x)
        vote->refuse(x.error());
      join->add(std::move(x));
    });
}

void cache::impl::submit_lane(const call& c, lane_id lane, std::vector<work_part> parts,
                              std::shared_ptr<const policy_set> policies,
                              std::shared_ptr<batch_vote> vote, request::publisher publish) {
  auto& entry = context_->lanes[lane.value];
  const auto& limits = policies->settings.limits;
  if (entry.in_flight.fetch_add(1) >= limits.max_in_flight) {
    entry.in_flight.fetch_sub(1);
    entry.overloaded.fetch_add(1, std::memory_order_relaxed);
    if (c.buffers.ticket)
      c.buffers.ticket->end(errc::overloaded);
    return publish(error{errc::overloaded,
                         fmt::format("{} requests are in flight in this lane; wait for one to end, "
                                     "or raise limits.max_in_flight",
                                     limits.max_in_flight)});
  }
  auto r = std::make_shared<request>();
  r->kind = c.kind;
  r->lane = lane;
  r->buffers = c.buffers;
  r->begun = request::clock::now();
  r->deadline = r->begun + (c.deadline.count() > 0 ? c.deadline : limits.deadline);
  r->exact = c.exact;
  r->allow_lost = c.allow_lost;
  r->vote = std::move(vote);
  r->policies = std::move(policies);
  r->publish = [context = context_, &entry, f = std::move(publish)](result<request_outcome> x) {
    // Here, since deadlines pass in the table, without the router.
    if (x.code() == errc::deadline_exceeded)
      entry.deadline_missed.fetch_add(1, std::memory_order_relaxed);
    entry.in_flight.fetch_sub(1); // before the client hears: it may send the next one at once
    f(std::move(x));
  };
  const auto router = context_->routers.get(lane.value);
  r->incarnation = router.incarnation;
  auto ticket = context_->requests.add(r);
  caf::anon_send(router.handle, client_request{c.kind, ticket, c.layer, std::move(parts)});
  // A router that died meanwhile never saw it, and its supervisor may have cleaned up already.
  if (context_->routers.get(lane.value).incarnation != router.incarnation)
    context_->requests.end(ticket,
                           error{errc::actor_down, "the router of this sequence went down; retry"});
}

} // namespace pikv
