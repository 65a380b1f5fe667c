// SPDX-License-Identifier: Apache-2.0
// Appends and annotations; settle.cpp has what follows from an append.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/actors/router/append_flow.hpp>

namespace pikv {

result<void> router_state::check_append(const client_request& r) {
  for (const auto& part : r.parts) {
    auto s = usable(part.sequence);
    if (!s)
      return s.error();
    const auto next = (*s)->layers[r.layer].appended;
    if (part.position != next)
      return {
          errc::position_gap,
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
  else if (!f->vote && std::ranges::all_of(f->owners, [this](const auto& x) {
             return context_->devices[x.first.value].device->gpu() >= 0;
           }))
    lift_in_order(f);
}

/// Lets what follows begin when every device has the append in its stream. From there on it fails
/// only as an append to one device does: by silence, which breaks the sequences of that device.
void router_state::lift_in_order(const std::shared_ptr<append_flow>& f) {
  auto asked = std::make_shared<std::size_t>(f->owners.size());
  for (const auto& [device, x] : f->owners)
    self_->request(owner(device), caf::infinite, enqueued_atom_v)
        .then(
            [this, f, asked](ack_atom) {
              if (--*asked > 0 || f->waiting == 0 || f->failed.code != errc::ok)
                return;
              f->fenced = false;
              f->lifted = true;
              for (const auto& part : f->request.parts)
                fence(part.sequence, f->request.layer, -1);
              settle(*f);
              pump();
            },
            [](const caf::error&) {}); // the append hears of it too
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
    if (x.ended == outcome::done && f.lifted)
      continue; // what follows may have built on it: it stays
    if (x.ended == outcome::done && f.fenced)
      caf::anon_send(owner(device), truncate_work{f.request.layer, x.work.parts});
    for (const auto& part : x.work.parts) {
      auto* s = sequences_.find(part.sequence);
      if (s == nullptr)
        continue;
      auto& layer = s->layers[f.request.layer];
      layer.appended = std::min(layer.appended, part.position);
      if (!places_entries()) // sealed pages hold none of what is taken back
        layer.settled = std::min(layer.settled, geometry_.settled_pages(layer.appended));
      s->broken = s->broken || x.ended == outcome::unknown;
    }
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
