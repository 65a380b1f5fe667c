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

/// Neighbouring rows of the batch whose partials are on the same owners: one merge does them all.
struct router_state::merge_run {
  std::uint32_t row = 0, rows = 0;
  std::vector<const owner_work*> owners;
};

std::vector<router_state::merge_run> router_state::merge_runs(const attend_flow& f) {
  std::vector<merge_run> runs;
  for (std::uint32_t i = 0; i < f.request.parts.size(); ++i) {
    const auto& part = f.request.parts[i];
    merge_run x{part.row_begin, part.tokens, {}};
    for (const auto& o : f.owners)
      if (std::ranges::find(o.parts, i) != o.parts.end())
        x.owners.push_back(&o);
    if (!runs.empty() && runs.back().row + runs.back().rows == x.row
        && runs.back().owners == x.owners)
      runs.back().rows += x.rows;
    else
      runs.push_back(std::move(x));
  }
  return runs;
}

/// In a task: what the scheduler wants to know of each page. `lse`: `[rows of the batch, heads]`.
void router_state::add_masses(attend_flow& f, const float* lse, const gpu::cache_dims& dims,
                              const gpu::kernel_table& kernels, gpu::executor& x) {
  std::vector<float> mass;
  f.uses.resize(f.request.parts.size());
  for (const auto& o : f.owners) {
    std::size_t page = 0, score = 0;
    for (std::size_t k = 0; k < o.parts.size(); ++k) {
      const auto pages = o.done.pages[k];
      const auto& part = f.request.parts[o.parts[k]];
      if (pages > 0) {
        mass.resize(pages);
        kernels.page_mass({part.tokens, dims.query_heads, pages, floats(o.page_lse) + score,
                           lse + std::size_t{part.row_begin} * dims.query_heads, mass.data()},
                          x);
        add_uses(reinterpret_cast<const surveyed_page*>(o.facts.data()) + page, mass, part.tokens,
                 f.uses[o.parts[k]]);
      }
      page += pages;
      score += std::size_t{part.tokens} * dims.query_heads * pages;
    }
  }
}

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
    std::vector<float> own_lse;
    float* lse = b.lse;
    if (lse == nullptr && f->mass) {
      own_lse.resize(std::size_t{b.rows} * dims.query_heads);
      lse = own_lse.data();
    }
    for (const auto& run : merge_runs(*f)) {
      const auto heads = std::size_t{run.row} * dims.query_heads;
      std::vector<const float*> outs, lses;
      for (const auto* o : run.owners) {
        outs.push_back(floats(o->out) + heads * dims.head_dim);
        lses.push_back(floats(o->lse) + heads);
      }
      auto out = b.out;
      out.data += run.row * out.row_stride * size_of(out.type);
      kernels.merge({dims, run.rows, outs, lses, out, lse == nullptr ? nullptr : lse + heads}, x);
    }
    if (f->mass)
      add_masses(*f, lse, dims, kernels, x);
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
  if (!f->audited) // else its stream goes on behind the audit's copy
    end_turn(*f);
}

void router_state::report_use(attend_flow& f) {
  const auto& p = *f.policies;
  if (!p.wants_mass && !(p.wants_reads && (f.surveyed || f.chooses)))
    return;
  for (auto& o : f.owners) // pages of different owners are different ones
    for (std::size_t i = 0; f.chooses && !f.mass && i < o.done.uses.size(); ++i) {
      f.uses.resize(f.request.parts.size());
      if (f.uses[i].empty())
        f.uses[i] = std::move(o.done.uses[i]);
      else
        f.uses[i].insert(f.uses[i].end(), o.done.uses[i].begin(), o.done.uses[i].end());
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
  if (!account.adds_up()) {
    end_turn(*f);
    return end(f->request,
               error{errc::internal,
                     fmt::format("the entries do not add up: {} exist, {} read, {} not routed, {} "
                                 "not selected, {} evicted, {} lost",
                                 account.existing, account.read, account.not_routed,
                                 account.not_selected, account.evicted, account.lost)});
  }
  if (!audits_.contains(f->request.ticket)) { // an audit is not traffic
    probe_->accounts(account);
    probe_->route_width(out.attend.routed_shards, rows);
    if (f->policies->counts_shards) {
      for (const auto& o : f->owners)
        std::ranges::copy(o.done.shards, std::back_inserter(f->out->shards));
      shards_.add(rows, f->out->shards);
    }
    report_use(*f); // before the client hears: its next append must not overtake this
  }
  if (f->audited)
    return copy_for_audit(f, std::move(out));
  end_turn(*f);
  end(f->request, std::move(out));
}

} // namespace pikv
