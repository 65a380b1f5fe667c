// SPDX-License-Identifier: Apache-2.0
// Appends: reserve slots for the whole batch, then write them on the compute stream.
#include <fmt/format.h>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

/// A page of the plan: new, or a private copy of a page that a fork shares.
struct new_page {
  work_part part;
  std::uint32_t page = 0;
  gpu::block block;
  gpu::block copy_of; ///< empty: a fresh page
};

struct shard_owner_state::append_plan {
  append_work work;
  std::vector<new_page> pages;
};

namespace {

/// Copies of shared pages first, then the rows.
struct append_job {
  ticket_id ticket{};
  request::pin pin; // from the moment that the task runs
  gpu::append_args args;
  std::vector<gpu::append_target> targets;
  std::vector<gpu::block> blocks; // keeps the pages alive
  std::vector<gpu::copy_item> copies;
  std::vector<std::shared_ptr<std::atomic<bool>>> broken;
};

} // namespace

result<void> shard_owner_state::plan_part(const append_work& w, const work_part& part,
                                          append_plan& plan) {
  auto* s = find(part.sequence);
  if (s == nullptr)
    return gone(part.sequence);
  auto& layer = s->layers[w.layer];
  if (part.position != layer.appended)
    return {errc::position_gap,
            fmt::format("sequence {}, layer {}: the next position is {}, not {}",
                        part.sequence.value, w.layer, layer.appended, part.position)};
  for (std::uint32_t t = 0; t < part.tokens;) {
    auto place = geometry_.of(part.position + t);
    const bool open_page = place.slot != 0;
    if (!open_page || (t == 0 && layer.open_shared)) {
      auto block = device().device->memory().allocate(raw_layout_.page_bytes);
      if (!block)
        return block.error();
      new_page page{part, place.page, std::move(*block), {}};
      if (open_page)
        page.copy_of = layer.window.read().memory.back().data;
      plan.pages.push_back(std::move(page));
    }
    t += place.room;
  }
  return {};
}

result<shard_owner_state::append_plan> shard_owner_state::plan_append(const append_work& w) {
  append_plan plan{w, {}};
  for (const auto& part : w.parts)
    if (auto r = plan_part(w, part, plan); !r)
      return r.error();
  return plan;
}

void shard_owner_state::append(const append_work& w, promise<ack_atom> p) {
  auto plan = plan_append(w);
  if (plan)
    return commit(std::move(*plan), std::move(p));
  auto current = context_->policies.current();
  if (plan.code() != errc::over_budget || !current
      || current->settings.limits.when_full != config::full_policy::evict) {
    p.deliver(to_caf(plan.error()));
    return;
  }
  std::uint64_t pages = 0;
  for (const auto& part : w.parts)
    pages += part.tokens / dims().page_tokens + 2;
  reclaim_and_retry(w, std::move(p), pages * raw_layout_.page_bytes);
}

void shard_owner_state::reclaim_and_retry(const append_work& w, promise<ack_atom> p,
                                          std::uint64_t bytes) {
  reclaiming_ = true;
  // Freed pages may lie scattered over slabs of another size: ask for more while there is more.
  auto retry = [this, w, p, bytes](std::uint64_t evicted) mutable {
    auto plan = plan_append(w);
    if (!plan && plan.code() == errc::over_budget && evicted > 0)
      return reclaim_and_retry(w, p, bytes * 2);
    reclaiming_ = false;
    if (plan)
      commit(std::move(*plan), p);
    else
      p.deliver(to_caf(plan.error()));
    drain_held();
  };
  self_
      ->request(context_->scheduler.get(0).handle, context_->settings.limits.deadline,
                reclaim_work{device_, bytes})
      .then([retry](const reclaim_done& r) mutable { retry(r.pages); },
            [retry](const caf::error&) mutable { retry(0); });
}

void shard_owner_state::in_order(std::function<void()> f) {
  if (reclaiming_)
    waiting_.push_back(std::move(f));
  else
    f();
}

void shard_owner_state::drain_held() {
  while (!reclaiming_ && !waiting_.empty()) {
    auto f = std::move(waiting_.front());
    waiting_.pop_front();
    f();
  }
}

void shard_owner_state::commit(append_plan plan, promise<ack_atom> p) {
  auto job = std::make_shared<append_job>();
  job->ticket = plan.work.ticket;
  auto next = plan.pages.begin();
  std::uint64_t entries = 0;
  for (const auto& part : plan.work.parts) {
    auto& s = *find(part.sequence);
    auto& layer = s.layers[plan.work.layer];
    auto& window = layer.window.write();
    for (std::uint32_t t = 0; t < part.tokens;) {
      auto place = geometry_.of(part.position + t);
      auto take = std::min(place.room, part.tokens - t);
      if (place.slot == 0 || (t == 0 && layer.open_shared)) {
        if (place.slot == 0) {
          window.views.push_back({});
          window.memory.push_back({});
        }
        window.memory.back() = {next->block, {}, place.page};
        auto& view = window.views.back();
        view.data = next->block.data();
        view.first_position = geometry_.first_position(place.page);
        view.stored = context_->raw;
        if (next->copy_of) {
          job->copies.push_back({next->copy_of.data(), next->block.data(), next->block.bytes()});
          job->blocks.push_back(next->copy_of);
        }
        ++next;
      }
      auto& block = window.memory.back().data;
      for (std::uint32_t i = 0; i < take; ++i)
        job->targets.push_back(
            {block.data(), part.row_begin + t + i, static_cast<std::uint16_t>(place.slot + i)});
      window.views.back().tokens = static_cast<std::uint16_t>(place.slot + take);
      job->blocks.push_back(block);
      t += take;
    }
    layer.open_shared = layer.open_shared && part.tokens == 0;
    layer.appended += part.tokens;
    entries += part.tokens;
    job->broken.push_back(s.broken);
  }
  if (probe_)
    probe_->appended(entries);
  auto& kernels = device().device->kernels();
  wait_until_ready(plan.work.ticket);
  jobs_.launch(
      self_, *device().compute, "append",
      [job, context = context_, &kernels](gpu::executor& x, error& status) {
        auto r = context->requests.find(job->ticket);
        job->pin = r ? r->try_pin() : request::pin{};
        if (!job->pin) {
          for (auto& flag : job->broken)
            flag->store(true, std::memory_order_release);
          status = {errc::cancelled, "the append ended before its rows were read"};
          return;
        }
        kernels.copy(job->copies, x);
        const auto& b = job->pin.buffers();
        job->args = {context->dims, context->raw, b.k, b.v, job->targets};
        kernels.append(job->args, x);
      },
      [p]() mutable { p.deliver(ack_atom_v); },
      [p](const error& e) mutable { p.deliver(to_caf(e)); });
}

void shard_owner_state::truncate(const truncate_work& w) {
  for (const auto& part : w.parts) {
    auto* s = find(part.sequence);
    if (s == nullptr)
      continue;
    auto& layer = s->layers[w.layer];
    if (context_->home_of(part.sequence) != device_) {
      drop_settled(layer, part.position);
      continue;
    }
    if (layer.appended != part.position + part.tokens)
      continue; // the append did not happen here
    auto& window = layer.window.write();
    while (!window.views.empty() && window.views.back().first_position >= part.position) {
      window.views.pop_back();
      window.memory.pop_back();
    }
    if (!window.views.empty()) {
      auto& view = window.views.back();
      view.tokens = static_cast<std::uint16_t>(
          std::min<std::uint32_t>(view.tokens, part.position - view.first_position));
    }
    layer.appended = part.position;
  }
}

} // namespace pikv
