// SPDX-License-Identifier: Apache-2.0
// Attends: snapshot the tables, then one kernel for all parts on the compute stream.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <pikv/actors/choice/device_order.hpp>
#include <pikv/actors/shard_owner/choosing.hpp>
#include <pikv/actors/shard_owner/facts.hpp>
#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

struct shard_owner_state::attending {
  attend_work work;
  attend_done reply;
  std::vector<table_lease> settled;
  std::vector<table_lease> windows;
  std::vector<gpu::sequence_rows> rows;
  std::vector<std::shared_ptr<std::atomic<bool>>> broken;
  std::vector<std::uint64_t> offsets; ///< of page_lse
  gpu::block selection, out, lse, page_lse;
  missing_summaries bare;
  std::unique_ptr<choosing> choice; ///< null: everything, or the router has chosen

  error run(const request_buffers& b, const cache_context& context,
            const gpu::kernel_table& kernels, gpu::executor& x);
};

namespace {

error lost(sequence_id x) {
  return {errc::sequence_lost,
          fmt::format("sequence {}: an append did not finish, so its entries are incomplete; close "
                      "it and open it anew",
                      x.value)};
}

} // namespace

result<gpu::block> write_facts(gpu::arena& arena, const std::vector<const page_table*>& tables) {
  std::size_t n = 0;
  for (const auto* t : tables)
    n += t->views.size();
  auto block = arena.allocate(std::max<std::size_t>(n, 1) * sizeof(surveyed_page));
  if (!block)
    return block;
  auto* out = reinterpret_cast<surveyed_page*>(block->data());
  for (const auto* t : tables)
    for (std::size_t i = 0; i < t->views.size(); ++i) {
      const auto& v = t->views[i];
      const std::int32_t tokens = v.tokens;
      *out++ = {v.first_position, v.data != nullptr ? tokens : -tokens, v.shard.value,
                t->memory[i].page};
    }
  return block;
}

result<void> shard_owner_state::take_tables(const attend_work& w, attending& job) {
  auto held = held_.find(w.ticket);
  const bool leased = w.surveyed || w.gather;
  if (leased && (held == held_.end() || held->second.leases.size() != w.parts.size()))
    return {errc::cancelled, "the request ended before its attention began"};
  for (std::size_t i = 0; i < w.parts.size(); ++i) {
    const auto& part = w.parts[i];
    auto* s = find(part.sequence);
    if (s == nullptr)
      return gone(part.sequence);
    if (s->broken->load(std::memory_order_acquire))
      return lost(part.sequence);
    auto& layer = s->layers[w.layer];
    if (context_->home_of(part.sequence) == device_ && part.position + part.tokens > layer.appended)
      return {errc::position_gap,
              fmt::format("sequence {}, layer {}: positions up to {} were asked for, but only {} "
                          "tokens were appended",
                          part.sequence.value, w.layer, part.position + part.tokens - 1,
                          layer.appended)};
    job.broken.push_back(s->broken);
    if (job.choice && !leased)
      if (auto r = add_summaries(layer, job.bare); !r)
        return r.error();
    layer.settled.mirror_on(*device().device);
    job.settled.push_back(leased ? std::move(held->second.leases[i]) : layer.settled.lease());
    job.windows.push_back(leased ? std::move(held->second.windows[i]) : layer.window.lease());
    job.rows.push_back({job.settled.back().pages(), job.windows.back().views(), part.row_begin,
                        part.tokens, part.position});
  }
  return {};
}

result<void> shard_owner_state::take_scratch(const attend_work& w, attending& job) {
  if (w.direct && !w.page_mass)
    return {}; // nothing that would have to be released
  auto& held = held_[w.ticket];
  held.lane = context_->lane_of(w.parts.front().sequence);
  auto keep = [&held](result<gpu::block> block, gpu::block& out, buffer_ref& ref) -> result<void> {
    if (!block)
      return block.error();
    out = *block;
    ref = block->ref();
    held.blocks.push_back(std::move(*block));
    return {};
  };
  const auto heads = std::uint64_t{w.rows} * dims().query_heads;
  if (!w.direct) {
    if (auto r = keep(partial_memory(w.merges, heads * dims().head_dim * sizeof(float)), job.out,
                      job.reply.out);
        !r)
      return r;
    if (auto r = keep(partial_memory(w.merges, heads * sizeof(float)), job.lse, job.reply.lse); !r)
      return r;
    held.partial = {job.reply.out, job.reply.lse};
  }
  if (!w.page_mass)
    return {};
  std::vector<const page_table*> tables;
  std::uint64_t floats = 0;
  for (std::size_t i = 0; i < w.parts.size(); ++i) {
    tables.push_back(job.settled[i].get());
    job.offsets.push_back(floats);
    job.reply.pages.push_back(static_cast<std::uint32_t>(job.rows[i].settled.size()));
    floats += std::uint64_t{w.parts[i].tokens} * dims().query_heads * job.rows[i].settled.size();
  }
  auto facts = write_facts(device().device->scratch(), tables);
  if (!facts)
    return facts.error();
  job.reply.facts = facts->ref();
  held.blocks.push_back(std::move(*facts));
  return floats == 0 ? result<void>{}
                     : keep(scratch(floats * sizeof(float)), job.page_lse, job.reply.page_lse);
}

/// Where the merge is, if there is room and this device can write there; else where both can.
result<gpu::block> shard_owner_state::partial_memory(device_id merges, std::size_t bytes) {
  auto& there = *context_->devices[merges.value].device;
  if (&there.exchange() != &there.scratch())
    if (auto near = there.exchange().allocate(bytes); near && device().device->reaches(near->data()))
      return near;
  return scratch(bytes);
}

/// An attend that failed before it was enqueued has been answered before this is asked.
void shard_owner_state::tell_partial(const partial_work& w, promise<partial_place> p) {
  if (auto held = held_.find(w.ticket); held != held_.end() && held->second.partial.lse.bytes > 0)
    p.deliver(held->second.partial);
  else
    p.deliver(to_caf({errc::cancelled, "the request ended before its partials were merged"}));
}

result<std::shared_ptr<shard_owner_state::attending>>
shard_owner_state::prepare_attend(const attend_work& w) {
  auto job = std::make_shared<attending>();
  job->work = w;
  if (w.chooses) {
    auto r = context_->requests.find(w.ticket);
    if (!r)
      return error{errc::cancelled, "the request ended before its attention began"};
    job->bare.parts = r->policies->summary_parts;
    job->choice = std::make_unique<choosing>(context_, device_, r->policies, geometry_, w);
  }
  if (auto r = take_tables(w, *job); !r)
    return r.error();
  if (job->choice)
    if (auto r = job->choice->prepare(job->settled, job->rows, w.gates); !r)
      return r.error();
  if (w.selection.bytes > 0) {
    auto block = context_->share(w.selection);
    if (!block)
      return block.error();
    job->selection = std::move(*block);
  }
  if (auto r = take_scratch(w, *job); !r)
    return r.error();
  return job;
}

/// On the stream's thread: chooses where asked to, attends, and counts what can be counted already.
error shard_owner_state::attending::run(const request_buffers& b, const cache_context& context,
                                        const gpu::kernel_table& kernels, gpu::executor& x) {
  const auto& dims = context.dims;
  gpu::page_selection chosen;
  gpu::attend_args args{dims, context.scale, b.q, rows, nullptr, b.out, b.lse, nullptr, offsets};
  bare.make(dims, kernels, x);
  if (choice) {
    if (auto r = choice->run(b, rows, settled, chosen, x); !r)
      return r.error();
    args.selection = &chosen;
  } else if (selection) {
    chosen = parse_selection(work.rows, work.scopes, selection);
    args.selection = &chosen;
  }
  if (!work.direct) {
    args.lse = reinterpret_cast<float*>(lse.data());
    args.out = {out.data(), dtype::f32, std::uint64_t{dims.query_heads} * dims.head_dim,
                dims.head_dim};
  }
  if (page_lse)
    args.page_lse = reinterpret_cast<float*>(page_lse.data());
  kernels.attend(args, x);
  if (work.direct && b.ticket && !b.ticket_waits)
    b.ticket->pass(x);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& tokens = settled[i].get()->tokens();
    if (!choice || !choice->counts_later())
      reply.read += count_read(rows[i], tokens, args.selection, dims.kv_heads);
    if (args.selection == nullptr)
      reply.evicted += count_evicted(rows[i], tokens, dims.kv_heads);
  }
  return {};
}

void shard_owner_state::attend(const attend_work& w, promise<attend_done> p) {
  auto prepared = prepare_attend(w);
  if (!prepared) {
    held_.erase(w.ticket);
    p.deliver(to_caf(prepared.error()));
    return;
  }
  auto job = std::move(*prepared);
  // The task's own: it goes with the task, however long this actor takes to hear of its end.
  auto pin = std::make_shared<request::pin>();
  auto task = [job, pin, context = context_,
               &kernels = device().device->kernels()](gpu::executor& x, error& status) {
    auto& asked = job->work;
    auto r = context->requests.find(asked.ticket);
    *pin = r ? r->try_pin() : request::pin{};
    if (!*pin) {
      status = {errc::cancelled, "the request ended before its attention ran"};
      return;
    }
    for (std::size_t i = 0; i < job->broken.size() && status.code == errc::ok; ++i)
      if (job->broken[i]->load(std::memory_order_acquire))
        status = lost(asked.parts[i].sequence);
    if (r->order && status.code == errc::ok)
      status = r->order->failed();
    if (status.code == errc::ok)
      status = job->run(pin->buffers(), *context, kernels, x);
    if (r->order && status.code != errc::ok)
      r->order->fail(status);
  };
  wait_until_ready(w.ticket);
  const auto r = context_->requests.find(w.ticket);
  if (w.gather && r)
    r->order->wait(device_order::step::shared, *device().compute);
  jobs_.launch(
      self_, *device().compute, "attend", std::move(task),
      [job, p]() mutable {
        if (job->choice)
          job->choice->account(job->settled, job->reply);
        p.deliver(std::move(job->reply));
      },
      [p](const error& e) mutable { p.deliver(to_caf(e)); });
  if (r && r->order)
    r->order->add(device_order::step::attended, device().compute->record());
}

} // namespace pikv
