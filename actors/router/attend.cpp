// SPDX-License-Identifier: Apache-2.0
// The flow of an attend up to the partials; merge.cpp has the rest.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <pikv/actors/choice/device_order.hpp>
#include <pikv/actors/router/attend_flow.hpp>

namespace pikv {

error owner_gone() {
  return {errc::actor_down, "the owner that worked on the attention went down; retry"};
}

result<void> router_state::check_attend(const client_request& r, const request& q) {
  for (const auto& part : r.parts) {
    auto s = usable(part.sequence);
    if (!s)
      return s.error();
    const auto& layer = (*s)->layers[r.layer];
    if (part.position + part.tokens > layer.appended)
      return {errc::position_gap,
              fmt::format("sequence {}, layer {}: a query at position {} needs its token appended "
                          "first; {} are there",
                          part.sequence.value, r.layer, part.position + part.tokens - 1,
                          layer.appended)};
    const auto moved = layer.scattered * geometry_.page_tokens;
    if (moved > 0 && part.position + 1 < geometry_.sinks + moved)
      return {errc::position_gap,
              fmt::format("sequence {}, layer {}: with cache.granularity entry a query cannot be "
                          "older than what has left the window; positions from {} on are allowed, "
                          "not {}",
                          part.sequence.value, r.layer, geometry_.sinks + moved - 1,
                          part.position)};
    if (!layer.lost.empty() && !q.allow_lost)
      return {errc::entries_lost,
              fmt::format("sequence {}, layer {}: {} entries were lost with a failed device; set "
                          "allow_lost to read the rest, or open the sequence anew",
                          part.sequence.value, r.layer, layer.lost.size() * geometry_.page_tokens)};
  }
  return {};
}

/// (row, KV head, entry) triples of a part that fall on lost pages.
std::uint64_t router_state::lost_entries(const layer_record& layer, const work_part& part) const {
  std::uint64_t n = 0;
  for (auto page : layer.lost)
    n += visible_tokens(geometry_.first_position(page), geometry_.page_tokens, part.position,
                        part.tokens);
  return n * context_->dims.kv_heads;
}

void router_state::attend(const client_request& r, std::shared_ptr<request> q) {
  if (auto ok = check_attend(r, *q); !ok)
    return end(r, ok.error());
  auto f = std::make_shared<attend_flow>();
  f->request = r;
  f->client = std::move(q);
  f->policies = f->client->policies;
  std::map<device_id, std::vector<std::uint32_t>> owners;
  for (std::uint32_t i = 0; i < r.parts.size(); ++i) {
    const auto& part = r.parts[i];
    const auto& layer = sequences_.find(part.sequence)->layers[r.layer];
    const auto home = context_->home_of(part.sequence);
    owners[home].push_back(i);
    for (std::uint32_t d = 0; d < layer.on_device.size(); ++d)
      if (d != home.value && layer.on_device[d] > 0)
        owners[device_id{d}].push_back(i);
    f->lost += lost_entries(layer, part);
  }
  count_attend(*f, 1);
  for (auto& [device, parts] : owners)
    f->owners.push_back({device, owner(device), std::move(parts), {}, {}, {}, {}, {}, {}});
  f->mass = f->policies->wants_mass;
  if (can_order(*f))
    f->client->order = std::make_shared<device_order>();
  sample_audit(*f);
  take_turn(*f);
  watch(*f->client, f, &router_state::give_up_attend);
  const bool all = f->client->exact
                   || (f->policies->routing->routes_all()
                       && f->policies->selection->score() == policies::page_score::none);
  if (all)
    return read(f);
  if (auto taken = take_gates(*f); !taken)
    return fail(f, taken.error());
  f->shards = known_of_shards(*f->policies);
  f->chooses = owner_can_choose(*f);
  if (f->chooses)
    read(f);
  else if (prepare_gather(*f))
    gather(f);
  else
    survey(f);
}

void router_state::survey(const flow_ptr& f) {
  f->surveyed = true;
  f->in = std::make_shared<plan_input>();
  f->in->context = context_;
  f->in->policies = f->policies;
  f->in->geometry = geometry_;
  f->in->rows = f->client->buffers.rows;
  f->in->parts = f->request.parts;
  f->in->gates = f->gates;
  f->in->shards = f->shards;
  f->in->owners.resize(f->owners.size());
  f->waiting = f->owners.size();
  for (std::size_t i = 0; i < f->owners.size(); ++i) {
    const auto& o = f->owners[i];
    survey_work w{f->request.ticket,
                  f->request.layer,
                  f->in->rows,
                  f->policies->needs_total,
                  f->policies->scores,
                  f->policies->summary_parts,
                  f->parts_of(o)};
    self_->request(o.handle, caf::infinite, std::move(w))
        .then(
            [this, f, i](const survey_done& done) {
              if (f->ended)
                return;
              auto& x = f->in->owners[i];
              x.device = f->owners[i].device;
              x.parts = f->owners[i].parts;
              x.survey = done;
              for (auto [ref, block] :
                   {std::pair{&done.facts, &x.facts}, std::pair{&done.mass, &x.mass},
                    std::pair{&done.quest, &x.quest}, std::pair{&done.always, &x.always}}) {
                if (ref->bytes == 0)
                  continue;
                auto shared = context_->share(*ref);
                if (!shared)
                  return fail(f, owner_gone());
                *block = std::move(*shared);
              }
              if (--f->waiting == 0)
                plan(f);
            },
            [this, f](const caf::error& e) { fail(f, from_caf(e, "the survey of an attend")); });
  }
}

void router_state::plan(const flow_ptr& f) {
  jobs_.launch(
      self_, *context_->lanes[lane_.value].stream, "plan",
      [in = f->in, out = f->out](gpu::executor& x, error& status) {
        make_plan(*in, *out, x);
        status = out->failed;
      },
      [this, f] {
        if (!f->ended)
          read(f);
      },
      [this, f](const error& e) { fail(f, e); });
}

void router_state::read(const flow_ptr& f) {
  f->waiting = f->owners.size();
  for (std::size_t i = 0; i < f->owners.size(); ++i)
    read_one(f, i);
  if (f->direct() && !f->audited)
    end_turn(*f);
  if (!f->direct() && f->client->order && !f->mass) // masses need the host before the merge
    merge_in_order(f);
}

void router_state::read_one(const flow_ptr& f, std::size_t i) {
  auto& o = f->owners[i];
  attend_work w;
  w.ticket = f->request.ticket;
  w.layer = f->request.layer;
  w.direct = f->direct();
  w.merges = merging_device();
  w.surveyed = f->surveyed;
  w.page_mass = f->mass;
  w.rows = f->client->buffers.rows;
  w.parts = f->parts_of(o);
  w.chooses = f->chooses;
  w.gather = o.gather;
  if (f->chooses)
    w.shards = f->shards;
  if (f->gates.block)
    w.gates = f->gates.block.ref();
  if (f->surveyed) {
    w.scopes = f->out->scopes;
    w.selection = f->out->selections[i].ref();
  }
  self_->request(o.handle, caf::infinite, std::move(w))
      .then([this, f, i](const attend_done& done) { take_answer(f, i, done); },
            [this, f](const caf::error& e) { fail(f, from_caf(e, "the attention")); });
}

void router_state::take_answer(const flow_ptr& f, std::size_t i, const attend_done& done) {
  if (f->ended)
    return;
  auto& x = f->owners[i];
  x.done = done;
  if (!x.out && !take_partial(x, done.out, done.lse))
    return fail(f, owner_gone());
  for (auto [ref, block] :
       {std::pair{&done.page_lse, &x.page_lse}, std::pair{&done.facts, &x.facts}}) {
    if (ref->bytes == 0)
      continue;
    auto shared = context_->share(*ref);
    if (!shared)
      return fail(f, owner_gone());
    *block = std::move(*shared);
  }
  --f->waiting;
  go_on(f);
}

/// Once all owners have answered: merges, or waits for the merge that their devices know already.
void router_state::go_on(const flow_ptr& f) {
  if (f->ended || f->waiting > 0)
    return;
  if (f->direct() || f->merged)
    complete(f);
  else if (!f->client->order || f->mass)
    merge(f);
}

void router_state::fail(const flow_ptr& f, const error& e) {
  if (std::exchange(f->ended, true))
    return;
  end_turn(*f);
  release(*f);
  end(f->request, e);
}

void router_state::give_up_attend(const flow_ptr& f) {
  fail(f, {errc::deadline_exceeded, "the attention did not end before its deadline"});
}

/// A layer whose attends are under way keeps its pages where they are.
void router_state::count_attend(const attend_flow& f, int change) {
  for (const auto& part : f.request.parts)
    if (auto* s = sequences_.find(part.sequence))
      s->layers[f.request.layer].attends += static_cast<std::uint32_t>(change);
}

void router_state::release(const attend_flow& f) {
  count_attend(f, -1);
  if (f.direct() && !f.surveyed)
    return; // the owner kept nothing
  for (const auto& o : f.owners)
    caf::anon_send(o.handle, release_work{f.request.ticket});
}

} // namespace pikv
