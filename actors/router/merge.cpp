// SPDX-License-Identifier: Apache-2.0
// The end of an attend: partials become the client's output, accounts are checked and reported.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/actors/choice/device_order.hpp>
#include <pikv/actors/router/attend_flow.hpp>

namespace pikv {

namespace {

const float* floats(const gpu::block& b) { return reinterpret_cast<const float*>(b.data()); }

/// The pages of one part on one owner, with the mass that each received.
void add_uses(const surveyed_page* facts, std::span<const float> mass, std::uint32_t rows,
              std::vector<page_use>& uses) {
  constexpr float nothing = 1e-30F; // the kernel's exponential does not reach zero
  for (std::size_t p = 0; p < mass.size(); ++p)
    if (facts[p].tokens > 0)
      uses.push_back({facts[p].page, mass[p] > nothing ? rows : 0U, mass[p]});
}

} // namespace

void router_state::merge(const flow_ptr& f) {
  auto& stream = *context_->lanes[lane_.value].stream;
  auto& kernels = context_->devices[merging_device().value].device->kernels();
  // The task's own: it goes with the task, whatever becomes of the flow.
  auto pin = std::make_shared<pikv::request::pin>();
  auto task = [f, pin, context = context_, &kernels](gpu::executor& x, error& status) {
    *pin = f->client->try_pin();
    if (!*pin) {
      status = {errc::cancelled, "the request ended before its partials were merged"};
      return;
    }
    if (const auto& order = f->client->order; order && order->failed().code != errc::ok) {
      status = order->failed();
      return;
    }
    const auto& dims = context->dims;
    const auto& b = pin->buffers();
    std::vector<float> own_lse, mass;
    f->uses.resize(f->request.parts.size());
    for (std::uint32_t i = 0; i < f->request.parts.size(); ++i) {
      const auto& part = f->request.parts[i];
      const auto row = std::size_t{part.row_begin};
      const auto heads = row * dims.query_heads;
      std::vector<const float*> outs, lses;
      for (const auto& o : f->owners)
        if (std::ranges::find(o.parts, i) != o.parts.end()) {
          outs.push_back(floats(o.out) + heads * dims.head_dim);
          lses.push_back(floats(o.lse) + heads);
        }
      float* lse = b.lse != nullptr ? b.lse + heads : nullptr;
      if (lse == nullptr && f->mass) {
        own_lse.resize(std::size_t{part.tokens} * dims.query_heads);
        lse = own_lse.data();
      }
      auto out = b.out;
      out.data += row * out.row_stride * size_of(out.type);
      kernels.merge({dims, part.tokens, outs, lses, out, lse}, x);
      if (!f->mass)
        continue;
      for (const auto& o : f->owners) {
        std::size_t page = 0, score = 0;
        for (std::size_t k = 0; k < o.parts.size(); ++k) {
          const auto pages = o.done.pages[k];
          const auto tokens = f->request.parts[o.parts[k]].tokens;
          if (o.parts[k] == i && pages > 0) {
            mass.resize(pages);
            kernels.page_mass(
                {tokens, dims.query_heads, pages, floats(o.page_lse) + score, lse, mass.data()}, x);
            add_uses(reinterpret_cast<const surveyed_page*>(o.facts.data()) + page, mass, tokens,
                     f->uses[i]);
          }
          page += pages;
          score += std::size_t{tokens} * dims.query_heads * pages;
        }
      }
    }
    if (b.ticket && !b.ticket_waits)
      b.ticket->pass(x);
  };
  if (f->client->order)
    f->client->order->wait(device_order::step::attended, stream);
  jobs_.launch(
      self_, stream, "merge", std::move(task),
      [this, f] {
        f->merged = true;
        go_on(f);
      },
      [this, f](const error& e) { fail(f, e); });
}

void router_state::report_use(attend_flow& f) {
  const auto& p = *f.policies;
  if (!p.wants_mass && !(p.wants_reads && (f.surveyed || f.chooses)))
    return;
  for (auto& o : f.owners) // pages of different owners are different ones
    for (std::size_t i = 0; f.chooses && !f.mass && i < o.done.uses.size(); ++i) {
      f.uses.resize(f.request.parts.size());
      std::ranges::copy(o.done.uses[i], std::back_inserter(f.uses[i]));
    }
  auto& uses = f.mass || f.chooses ? f.uses : f.out->uses;
  for (std::size_t i = 0; i < uses.size(); ++i)
    caf::anon_send(context_->scheduler.get(0).handle,
                   attended_event{f.request.layer, f.request.parts[i].sequence,
                                  f.request.parts[i].tokens, std::move(uses[i])});
}

void router_state::complete(const flow_ptr& f) {
  if (std::exchange(f->ended, true))
    return;
  release(*f);
  request_outcome out;
  auto& account = out.attend.entries;
  std::uint64_t rows = 0;
  double routed_shards = f->out->routed_shards;
  for (const auto& part : f->request.parts) {
    const auto n = std::uint64_t{part.tokens};
    rows += n;
    account.existing += (n * (part.position + 1) + n * (n - 1) / 2) * context_->dims.kv_heads;
  }
  for (const auto& o : f->owners) {
    account.read += o.done.read;
    account.evicted += o.done.evicted;
    account.not_routed += o.done.not_routed;
    account.not_selected += o.done.not_selected;
    routed_shards += o.done.routed_shards;
  }
  account.evicted += f->out->evicted;
  account.not_routed += f->out->not_routed;
  account.not_selected += f->out->not_selected;
  account.lost = f->lost;
  out.attend.config_version = f->policies->version;
  const double shards = context_->settings.cache.shards;
  out.attend.routed_shards =
      f->surveyed || f->chooses ? routed_shards / static_cast<double>(rows) : shards;
  if (!account.adds_up())
    return end(f->request,
               error{errc::internal,
                     fmt::format("the entries do not add up: {} exist, {} read, {} not routed, {} "
                                 "not selected, {} evicted, {} lost",
                                 account.existing, account.read, account.not_routed,
                                 account.not_selected, account.evicted, account.lost)});
  if (!audits_.contains(f->request.ticket)) { // an audit is not traffic
    probe_->accounts(account);
    probe_->route_width(out.attend.routed_shards, rows);
  }
  if (f->policies->counts_shards) {
    for (const auto& o : f->owners)
      std::ranges::copy(o.done.shards, std::back_inserter(f->out->shards));
    shards_.add(rows, f->out->shards);
  }
  report_use(*f); // before the client hears: its next append must not overtake this
  if (f->audited)
    return copy_for_audit(f, std::move(out));
  end(f->request, std::move(out));
}

} // namespace pikv
