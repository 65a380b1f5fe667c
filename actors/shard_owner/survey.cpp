// SPDX-License-Identifier: Apache-2.0
// Surveys: what pages there are and how much of a query's attention each may hold.
#include <pikv/actors/shard_owner/always_read.hpp>
#include <pikv/actors/shard_owner/facts.hpp>
#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

struct shard_owner_state::surveying {
  ticket_id ticket{};
  survey_done reply;
  std::vector<table_lease> leases;
  std::vector<table_lease> windows;
  std::vector<gpu::sequence_rows> rows;
  std::vector<std::uint64_t> offsets;
  gpu::block mass, quest;
  always_read always;
  missing_summaries bare;
};

void missing_summaries::make(const gpu::cache_dims& dims, const gpu::kernel_table& kernels,
                             gpu::executor& x) const {
  if (!pages.empty())
    kernels.summarise({dims, parts, pages, out}, x);
}

result<void> shard_owner_state::add_summaries(owned_layer& layer, missing_summaries& missing) {
  const auto parts = missing.parts;
  auto lacks = [parts](const gpu::page_view& v) {
    return v.data != nullptr && (v.summary_parts & parts) != parts;
  };
  // Asked for every attend, over thousands of pages: the table knows.
  if (const auto lease = layer.settled.lease();
      (lease.get()->tokens().summary_parts & parts) == parts)
    return {};
  auto& table = layer.settled.write();
  auto bytes = gpu::summary_layout_of(dims(), parts).bytes;
  for (std::size_t i = 0; i < table.views.size(); ++i) {
    auto& view = table.views[i];
    if (!lacks(view))
      continue;
    auto block = device().device->memory().allocate(bytes);
    if (!block) // pages fill the device: queries must still be answered
      block = scratch(bytes);
    if (!block)
      return block.error();
    count_page(view, -1);
    missing.pages.push_back(view);
    missing.out.push_back(block->data());
    missing.keep.push_back(table.memory[i].data);
    view.summary = block->data();
    view.summary_parts = parts;
    count_page(view, 1);
    table.memory[i].summary = std::move(*block);
  }
  return {};
}

result<std::shared_ptr<shard_owner_state::surveying>>
shard_owner_state::prepare_survey(const survey_work& w) {
  auto job = std::make_shared<surveying>();
  job->ticket = w.ticket;
  job->bare.parts = w.summary_parts;
  std::vector<const page_table*> tables;
  std::uint64_t floats = 0;
  for (const auto& part : w.parts) {
    auto& layer = find_or_make(part.sequence).layers[w.layer];
    if (auto r = add_summaries(layer, job->bare); !r)
      return r.error();
    layer.settled.mirror_on(*device().device);
    job->leases.push_back(layer.settled.lease());
    tables.push_back(job->leases.back().get());
    const auto views = job->leases.back().pages();
    job->windows.push_back(layer.window.lease());
    const auto window = w.always ? job->windows.back().views() : std::span<const gpu::page_view>{};
    job->rows.push_back({views, window, part.row_begin, part.tokens, part.position});
    job->offsets.push_back(floats);
    floats += std::uint64_t{part.tokens} * dims().query_heads * views.size();
    job->reply.pages.push_back(static_cast<std::uint32_t>(views.size()));
  }
  auto& held = held_[w.ticket];
  held.lane = context_->lane_of(w.parts.front().sequence);
  auto facts = write_facts(device().device->scratch(), tables);
  if (!facts)
    return facts.error();
  job->reply.facts = facts->ref();
  held.blocks.push_back(std::move(*facts));
  auto take = [&](gpu::score_kind kind, gpu::block& out, buffer_ref& ref) -> result<void> {
    if ((w.scores & (1U << static_cast<unsigned>(kind))) == 0 || floats == 0)
      return {};
    auto block = scratch(floats * sizeof(float));
    if (!block)
      return block.error();
    ref = block->ref();
    out = *block;
    held.blocks.push_back(std::move(*block));
    return {};
  };
  if (auto r = take(gpu::score_kind::mass, job->mass, job->reply.mass); !r)
    return r.error();
  if (auto r = take(gpu::score_kind::quest, job->quest, job->reply.quest); !r)
    return r.error();
  if (!w.always)
    return job;
  if (auto r =
          job->always.prepare(device().device->scratch(), dims(), w.rows, job->rows, geometry_);
      !r)
    return r.error();
  job->reply.always = job->always.lse().ref();
  held.blocks.push_back(job->always.lse());
  return job;
}

void shard_owner_state::survey(const survey_work& w, promise<survey_done> p) {
  auto prepared = prepare_survey(w);
  if (!prepared) {
    held_.erase(w.ticket);
    p.deliver(to_caf(prepared.error()));
    return;
  }
  auto job = std::move(*prepared);
  auto pin = std::make_shared<request::pin>();
  auto task = [job, pin, context = context_,
               &kernels = device().device->kernels()](gpu::executor& x, error& status) {
    auto r = context->requests.find(job->ticket);
    *pin = r ? r->try_pin() : request::pin{};
    job->bare.make(context->dims, kernels, x);
    if (!*pin) {
      status = {errc::cancelled, "the request ended before its pages were scored"};
      return;
    }
    auto score = [&](gpu::score_kind kind, const gpu::block& out) {
      if (out)
        kernels.score({context->dims, kind, context->scale, pin->buffers().q, job->rows,
                       reinterpret_cast<float*>(out.data()), job->offsets},
                      x);
    };
    score(gpu::score_kind::mass, job->mass);
    score(gpu::score_kind::quest, job->quest);
    if (job->always.lse())
      job->always.run(kernels, context->dims, context->scale, pin->buffers().q, job->rows, x);
  };
  wait_until_ready(w.ticket);
  jobs_.launch(
      self_, *device().compute, "score", std::move(task),
      [this, job, p]() mutable {
        if (auto it = held_.find(job->ticket); it != held_.end()) {
          it->second.leases = std::move(job->leases);
          it->second.windows = std::move(job->windows);
        }
        p.deliver(std::move(job->reply));
      },
      [p](const error& e) mutable { p.deliver(to_caf(e)); });
}

} // namespace pikv
