// SPDX-License-Identifier: Apache-2.0
// Audits: a sampled attend is computed once more over everything that is kept, to measure what
// routing and selection missed. That happens after its client has been served and when the lane has
// nothing else to do, or at the next tick; a result is never changed by one. What is measured
// steers the fidelity target.
#include <algorithm>

#include <fmt/format.h>

#include <pikv/actors/router/attend_flow.hpp>
#include <pikv/monitoring/log.hpp>

namespace pikv {

namespace {

constexpr std::uint32_t audited_rows = 4; // a decode step's worth: enough to sample, cheap to copy
constexpr std::size_t most_waiting = 8;   // audits; those beyond are not made

/// Pseudo-random in [0, 1) and the same in every run (SplitMix64). Every n-th attend would not do:
/// engines attend layer after layer, and some layers would never be seen.
double sample_at(std::uint64_t i) noexcept {
  auto x = (i + 1) * 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return static_cast<double>((x ^ (x >> 31U)) >> 11U) * 0x1p-53;
}

gpu::tensor_ref dense(const gpu::block& x, dtype type, std::uint32_t heads,
                      std::uint32_t dim) noexcept {
  return {x.data(), type, std::uint64_t{heads} * dim, dim};
}

/// Copies `rows` rows from `row` on to a dense tensor `[rows, heads, dim]`.
void copy_rows(const gpu::tensor_ref& from, std::uint32_t row, std::uint32_t rows,
               const gpu::cache_dims& dims, std::byte* to, const gpu::kernel_table& kernels,
               gpu::executor& x) {
  const auto size = size_of(from.type);
  const auto bytes = dims.head_dim * size;
  std::vector<gpu::copy_item> items;
  for (std::uint32_t r = 0; r < rows; ++r)
    for (std::uint32_t h = 0; h < dims.query_heads; ++h, to += bytes)
      items.push_back(
          {from.data + ((row + r) * from.row_stride + h * from.head_stride) * size, to, bytes});
  kernels.copy(items, x);
}

} // namespace

/// The sampled rows and what the client got for them; in scratch memory, which every kernel
/// reaches.
struct router_state::audit_flow {
  gpu::block q, out, full_out, full_lse;
  dtype q_type = dtype::f32, out_type = dtype::f32;
  std::vector<float> lse;
  std::uint32_t row = 0; ///< first one, in the batch
  std::uint32_t rows = 0;
  std::uint32_t layer = 0;
  work_part part;  ///< the sampled rows
  double told = 0; ///< coverage that the rows were to reach; 0: no target
  std::shared_ptr<const policy_set> policies;
  std::uint64_t incarnation = 0;
  double coverage = 0, output_error = 0;
};

void router_state::sample_audit(attend_flow& f) {
  const auto share = f.policies->settings.fidelity.audit_share;
  if (share <= 0 || f.client->exact || f.client->allow_lost)
    return;
  if (sample_at(sampled_++) >= share || waiting_audits_.size() >= most_waiting)
    return;
  f.audited = true;
  f.client->buffers.ticket_waits = true; // the client's stream may write over the output next
  if (f.client->buffers.lse != nullptr)
    return;
  auto& own = f.client->own_lse; // with the request, which every kernel that writes it pins
  own.resize(std::size_t{f.client->buffers.rows} * context_->dims.query_heads);
  f.client->buffers.lse = own.data();
}

/// Takes the last rows of the first part: the newest queries have the most to miss.
result<std::shared_ptr<router_state::audit_flow>> router_state::make_audit(const attend_flow& f) {
  const auto& dims = context_->dims;
  const auto& part = f.request.parts.front();
  const auto& b = f.client->buffers;
  auto a = std::make_shared<audit_flow>();
  a->rows = std::min(part.tokens, audited_rows);
  a->row = part.row_begin + part.tokens - a->rows;
  a->layer = f.request.layer;
  a->part = {part.sequence, part.position + part.tokens - a->rows, a->rows, 0};
  a->told = f.shards.coverage;
  a->policies = f.policies;
  a->incarnation = f.client->incarnation;
  a->q_type = b.q.type;
  a->out_type = b.out.type;
  const auto heads = std::size_t{a->rows} * dims.query_heads;
  auto& scratch = context_->devices[merging_device().value].device->scratch();
  for (auto [block, bytes] : {std::pair{&a->q, dims.head_dim * size_of(a->q_type)},
                              std::pair{&a->out, dims.head_dim * size_of(a->out_type)},
                              std::pair{&a->full_out, dims.head_dim * sizeof(float)},
                              std::pair{&a->full_lse, sizeof(float)}}) {
    auto made = scratch.allocate(heads * bytes);
    if (!made)
      return made.error();
    *block = std::move(*made);
  }
  return a;
}

/// The client hears when its tensors have been copied: it may write over them then.
void router_state::copy_for_audit(const flow_ptr& f, request_outcome out) {
  auto made = make_audit(*f);
  if (!made) { // no room: the result is there all the same
    end_turn(*f);
    return end(f->request, std::move(out));
  }
  auto a = std::move(*made);
  auto pin = std::make_shared<pikv::request::pin>();
  auto& kernels = context_->devices[merging_device().value].device->kernels();
  auto task = [a, f, pin, dims = context_->dims, &kernels](gpu::executor& x, error& status) {
    *pin = f->client->try_pin();
    if (!*pin) {
      status = {errc::cancelled, "the request ended before it could be audited"};
      return;
    }
    const auto& b = pin->buffers();
    copy_rows(b.q, a->row, a->rows, dims, a->q.data(), kernels, x);
    copy_rows(b.out, a->row, a->rows, dims, a->out.data(), kernels, x);
  };
  auto served = std::make_shared<request_outcome>(std::move(out));
  jobs_.launch(
      self_, *context_->lanes[lane_.value].stream, "audit copy", std::move(task),
      [this, f, a, served] {
        const auto heads = context_->dims.query_heads;
        const auto* lse = f->client->buffers.lse + std::size_t{a->row} * heads;
        a->lse.assign(lse, lse + std::size_t{a->rows} * heads); // before the client hears
        waiting_audits_.push_back(a);
        end_turn(*f);
        end(f->request, std::move(*served)); // may begin the audit
      },
      [this, f, served](const error&) {
        end_turn(*f);
        end(f->request, std::move(*served));
      });
}

void router_state::begin_audit() {
  if (waiting_audits_.empty())
    return;
  auto a = std::move(waiting_audits_.front());
  waiting_audits_.pop_front();
  audit(std::move(a));
}

void router_state::audit(std::shared_ptr<audit_flow> a) {
  const auto& dims = context_->dims;
  auto r = std::make_shared<request>();
  r->kind = request_kind::attend;
  r->lane = lane_;
  r->incarnation = a->incarnation;
  r->begun = request::clock::now();
  r->deadline = r->begun + a->policies->settings.limits.deadline;
  r->exact = true;
  r->policies = a->policies;
  r->buffers.q = dense(a->q, a->q_type, dims.query_heads, dims.head_dim);
  r->buffers.out = dense(a->full_out, dtype::f32, dims.query_heads, dims.head_dim);
  r->buffers.lse = reinterpret_cast<float*>(a->full_lse.data());
  r->buffers.rows = a->rows;
  // The publisher owns the buffers. It runs inside this actor, when the flow ends, unless the
  // request is swept: then nothing is compared.
  auto done = std::make_shared<bool>(false);
  r->publish = [a, done](const result<request_outcome>& x) { *done = x.ok(); };
  client_request again{request_kind::attend, context_->requests.add(r), a->layer, {a->part}};
  audits_.emplace(again.ticket, [this, a, done] {
    if (*done)
      compare_audit(a);
  });
  enqueue(std::move(again));
}

void router_state::compare_audit(const std::shared_ptr<audit_flow>& a) {
  auto& kernels = context_->devices[merging_device().value].device->kernels();
  jobs_.launch(
      self_, *context_->lanes[lane_.value].stream, "audit",
      [a, dims = context_->dims, &kernels](gpu::executor& x, error&) {
        kernels.audit({dims, a->rows, dense(a->out, a->out_type, dims.query_heads, dims.head_dim),
                       a->lse.data(), reinterpret_cast<const float*>(a->full_out.data()),
                       reinterpret_cast<const float*>(a->full_lse.data()), &a->coverage,
                       &a->output_error},
                      x);
      },
      [this, a] {
        probe_->audited(a->layer, a->coverage, a->output_error);
        learn(*a);
      },
      [](const error&) {});
}

/// Steers by what was measured, and says when the target begins or ceases to be missed.
void router_state::learn(const audit_flow& a) {
  const bool held = fidelity_.held();
  fidelity_.observe(a.layer, a.told, a.coverage, a.output_error);
  if (held == fidelity_.held())
    return;
  probe_->fidelity(fidelity_.coverage(), fidelity_.held());
  const auto& target = a.policies->settings.fidelity;
  monitoring::log(held ? monitoring::severity::warning : monitoring::severity::info, "router",
                  fmt::format("lane {}: the fidelity target (coverage_target {}, max_output_error "
                              "{}) {}",
                              lane_.value, target.coverage_target, target.max_output_error,
                              held
                                  ? "is not held by reading more; what the route leaves out may be "
                                    "needed"
                                  : "is held again"));
}

} // namespace pikv
