// SPDX-License-Identifier: Apache-2.0
// Appends, the settles that follow from them, and annotations.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <pikv/actors/router/state.hpp>

namespace pikv {

struct router_state::append_flow {
  client_request request;
  std::shared_ptr<const policy_set> policies;
  struct owner_part {
    append_work work;
    /// refused: by a typed error that leaves windows as they were. unknown: anything else, silence
    /// included.
    enum class outcome : std::uint8_t { unknown, done, refused } ended = outcome::unknown;
  };
  std::map<device_id, owner_part> owners;
  std::size_t waiting = 0;
  error failed;
  bool fenced = false; ///< the batch spans devices or lanes: nothing follows until all have answered
  std::shared_ptr<batch_vote> vote; ///< of a batch that spans lanes
};

result<void> router_state::check_append(const client_request& r) {
  for (const auto& part : r.parts) {
    auto s = usable(part.sequence);
    if (!s)
      return s.error();
    const auto next = (*s)->layers[r.layer].appended;
    if (part.position != next)
      return {errc::position_gap,
              fmt::format("sequence {}, layer {}: the next position is {}, not {}; append tokens in "
                          "order, each once",
                          part.sequence.value, r.layer, next, part.position)};
  }
  return {};
}

void router_state::append(const client_request& r, std::shared_ptr<request> q) {
  if (auto ok = check_append(r); !ok)
    return end(r, ok.error());
  if (q->vote && q->vote->now() == batch_vote::verdict::take_back)
    return end(r, q->vote->why());
  auto f = std::make_shared<append_flow>();
  f->request = r;
  f->policies = q->policies;
  f->vote = q->vote;
  for (const auto& part : r.parts) {
    auto& owner_part = f->owners[context_->home_of(part.sequence)];
    owner_part.work.ticket = r.ticket;
    owner_part.work.layer = r.layer;
    owner_part.work.parts.push_back(part);
    sequences_.find(part.sequence)->layers[r.layer].appended += part.tokens;
  }
  f->waiting = f->owners.size();
  f->fenced = f->owners.size() > 1 || f->vote != nullptr;
  if (f->fenced)
    for (const auto& part : r.parts)
      fence(part.sequence, r.layer, 1);
  watch(*q, f, &router_state::give_up_append);
  for (auto& [device, x] : f->owners)
    self_->request(owner(device), caf::infinite, x.work)
      .then(
        [this, f, &x](ack_atom) {
          x.ended = append_flow::owner_part::outcome::done;
          appended(f);
        },
        [this, f, &x](const caf::error& e) {
          f->failed = from_caf(e, "the append");
          if (f->failed.code == errc::over_budget || f->failed.code == errc::position_gap)
            x.ended = append_flow::owner_part::outcome::refused;
          appended(f);
        });
  if (!f->fenced)
    settle(*f); // behind the append in the owner's mailbox
}

void router_state::appended(const std::shared_ptr<append_flow>& f) {
  if (f->waiting == 0 || --f->waiting > 0) // 0: an answer after it was given up
    return;
  if (!f->vote)
    return conclude(f, f->failed);
  if (f->failed.code == errc::ok)
    f->vote->agree();
  else
    f->vote->refuse(f->failed);
  const auto ticket = f->request.ticket;
  voted_.emplace(ticket, f);
  f->vote->invite([address = self_->address(), ticket] {
    if (auto strong = caf::actor_cast<caf::strong_actor_ptr>(address))
      caf::anon_send(caf::actor_cast<router_actor>(strong), decided_atom_v, ticket);
  });
}

void router_state::give_up_append(const std::shared_ptr<append_flow>& f) {
  if (f->waiting == 0)
    return; // it waits for other lanes, which end by their own deadlines
  f->failed = {errc::deadline_exceeded, "the append did not end before its deadline"};
  f->waiting = 1;
  appended(f);
}

void router_state::decided(ticket_id ticket) {
  if (auto node = voted_.extract(ticket))
    conclude(node.mapped(), node.mapped()->vote->why());
}

void router_state::conclude(const std::shared_ptr<append_flow>& f, const error& why) {
  if (f->fenced)
    for (const auto& part : f->request.parts)
      fence(part.sequence, f->request.layer, -1);
  if (why.code != errc::ok) {
    roll_back(*f);
    end(f->request, why);
  } else {
    if (f->fenced)
      settle(*f);
    request_outcome out;
    out.attend.config_version = f->policies->version;
    end(f->request, std::move(out));
  }
  pump();
}

void router_state::roll_back(const append_flow& f) {
  using outcome = append_flow::owner_part::outcome;
  for (const auto& [device, x] : f.owners) {
    if (x.ended == outcome::done && f.fenced)
      caf::anon_send(owner(device), truncate_work{f.request.layer, x.work.parts});
    for (const auto& part : x.work.parts) {
      auto* s = sequences_.find(part.sequence);
      if (s == nullptr)
        continue;
      auto& layer = s->layers[f.request.layer];
      layer.appended = std::min(layer.appended, part.position);
      layer.settled = std::min(layer.settled, geometry_.settled_pages(layer.appended));
      s->broken = s->broken || x.ended == outcome::unknown;
    }
  }
}

settle_order router_state::place(const policy_set& p, sequence_id id, std::uint32_t layer,
                                 const sequence_record& s, std::uint32_t page) const {
  const auto tokens = geometry_.page_tokens;
  policies::page_facts facts{id, layer, page, geometry_.first_position(page), tokens, {}};
  // The gate that labels a layer is that of the layer before: it is known when the page settles and,
  // unlike the layer's own, also when a query of this layer is routed.
  if (layer > 0)
    facts.top_experts = top_experts(s.layers[layer - 1].gate, facts.first_position, tokens);
  auto shard = p.placement->place(facts);
  auto stored = p.compression->keeps_raw() ? context_->raw
                                           : p.compression->choose(facts, context_->raw);
  auto devices = static_cast<std::uint32_t>(context_->devices.size());
  return {id, page, shard, policies::owner_of(shard, devices), stored};
}

void router_state::settle(const append_flow& f) {
  const auto layer_index = f.request.layer;
  const auto& p = *f.policies;
  std::map<device_id, settle_work> works;
  for (const auto& part : f.request.parts) {
    auto* s = sequences_.find(part.sequence);
    auto& layer = s->layers[layer_index];
    const auto target = geometry_.settled_pages(layer.appended);
    for (; layer.settled < target; ++layer.settled)
      works[context_->home_of(part.sequence)].orders.push_back(
        place(p, part.sequence, layer_index, *s, layer.settled));
    if (layer_index > 0)
      forget_before(s->layers[layer_index - 1].gate, geometry_.first_position(layer.settled));
  }
  for (auto& [home, w] : works) {
    w.layer = layer_index;
    w.summary_parts = p.summary_parts;
    // What only changes tables on one device needs no waiting: the owner's order is enough.
    const bool waits = p.budget->limits() || std::ranges::any_of(w.orders, [&](const auto& o) {
                         return o.device != home || o.stored != context_->raw;
                       });
    if (waits)
      for (const auto& o : w.orders)
        fence(o.sequence, layer_index, 1);
    auto lift = [this, waits, w = w] {
      if (!waits)
        return;
      for (const auto& o : w.orders)
        fence(o.sequence, w.layer, -1);
      pump();
    };
    self_->request(owner(home), context_->settings.limits.deadline, w)
      .then(
        [this, w = w, version = p.version, limits = p.budget->limits(),
         lift](const settle_done& done) {
          settled(w, done, version);
          if (!limits || done.settled.empty()) {
            tell_scheduler(w.layer, version, done.settled, false);
            return lift();
          }
          tell_scheduler(w.layer, version, done.settled, true);
          lift();
        },
        [this, w = w, lift](const caf::error&) {
          settled(w, {}, 0);
          lift();
        });
  }
}

void router_state::settled(const settle_work& asked, const settle_done& done, std::uint64_t) {
  notice_restarts();
  for (const auto& o : done.settled)
    if (auto* s = sequences_.find(o.sequence)) {
      auto& layer = s->layers[asked.layer];
      if (o.incarnation == owners_[o.device.value].incarnation)
        layer.arrived(o.page, o.device);
      else
        layer.lost.push_back(o.page); // its new owner went down before this was heard
    }
  for (const auto& o : asked.orders) {
    auto* s = sequences_.find(o.sequence);
    const bool arrived = std::ranges::any_of(done.settled, [&](const settle_order& x) {
      return x.sequence == o.sequence && x.page == o.page;
    });
    if (s != nullptr && !arrived) // it stays in the window and is ordered again later
      s->layers[asked.layer].settled = std::min(s->layers[asked.layer].settled, o.page);
  }
}

void router_state::tell_scheduler(std::uint32_t layer, std::uint64_t version,
                                  const std::vector<settle_order>& pages, bool wait) {
  std::map<sequence_id, settled_event> events;
  for (const auto& o : pages)
    events[o.sequence].pages.push_back(o);
  auto scheduler = context_->scheduler.get(0).handle;
  for (auto& [id, e] : events) {
    auto* s = sequences_.find(id);
    if (s == nullptr)
      continue;
    e.config_version = version;
    e.layer = layer;
    e.sequence = id;
    e.entries = s->layers[layer].appended;
    if (!wait) {
      caf::anon_send(scheduler, std::move(e));
      continue;
    }
    // Evictions end before the next attend, so that results do not depend on timing.
    fence(id, layer, 1);
    auto lift = [this, id = id, layer] {
      fence(id, layer, -1);
      pump();
    };
    self_->request(scheduler, context_->settings.limits.deadline, std::move(e))
      .then([lift](ack_atom) { lift(); }, [lift](const caf::error&) { lift(); });
  }
}

void router_state::annotate(const client_request& r, const std::shared_ptr<request>& q) {
  auto pin = q->try_pin();
  if (!pin)
    return end(r, error{errc::cancelled, "the request ended before its gate was read"});
  for (const auto& part : r.parts) {
    auto s = usable(part.sequence);
    if (!s)
      return end(r, s.error());
    if (part.position + part.tokens > (*s)->layers[r.layer].appended)
      return end(r, error{errc::position_gap,
                          fmt::format("sequence {}, layer {}: annotate tokens after appending them",
                                      part.sequence.value, r.layer)});
  }
  const auto experts = context_->shape.experts;
  for (const auto& part : r.parts) {
    auto rows = pin.buffers().gate.subspan(std::size_t{part.row_begin} * experts,
                                           std::size_t{part.tokens} * experts);
    pikv::annotate(sequences_.find(part.sequence)->layers[r.layer].gate, part.position, part.tokens,
                   rows, experts);
  }
  pin = {};
  request_outcome out;
  out.attend.config_version = q->policies->version;
  end(r, std::move(out));
}

} // namespace pikv
