// SPDX-License-Identifier: Apache-2.0
// Audits: a sampled attend is computed once more over everything that is kept, after its client has
// been served, to measure what routing and selection missed. A result is never changed by one.
#include <algorithm>
#include <cstring>

#include <pikv/actors/router/attend_flow.hpp>

namespace pikv {

namespace {

constexpr std::uint32_t audited_rows = 4; // a decode step's worth: enough to sample, cheap to copy

/// Copies `rows` rows of a strided tensor; the copy is dense `[rows, heads, dim]`.
std::vector<std::byte> copy_rows(const gpu::tensor_ref& x, std::uint32_t row, std::uint32_t rows,
                                 std::uint32_t heads, std::uint32_t dim) {
  const auto size = size_of(x.type);
  std::vector<std::byte> out(std::size_t{rows} * heads * dim * size);
  auto* to = out.data();
  for (std::uint32_t r = 0; r < rows; ++r)
    for (std::uint32_t h = 0; h < heads; ++h, to += dim * size)
      std::memcpy(to, x.data + ((row + r) * x.row_stride + h * x.head_stride) * size, dim * size);
  return out;
}

gpu::tensor_ref dense(std::vector<std::byte>& x, dtype type, std::uint32_t heads,
                      std::uint32_t dim) noexcept {
  return {x.data(), type, std::uint64_t{heads} * dim, dim};
}

} // namespace

/// The sampled rows and what the client got for them.
struct router_state::audit_flow {
  std::vector<std::byte> q, out;
  dtype q_type = dtype::f32, out_type = dtype::f32;
  std::vector<float> lse, full_out, full_lse;
  std::uint32_t rows = 0;
  double coverage = 0, output_error = 0;
};

void router_state::sample_audit(attend_flow& f) {
  const auto share = f.policies->settings.fidelity.audit_share;
  if (share <= 0 || f.client->exact || f.client->allow_lost)
    return;
  // Every 1/share-th attend, so that a run can be repeated.
  audit_debt_ += share;
  if (audit_debt_ < 1)
    return;
  audit_debt_ -= 1;
  f.audited = true;
  if (f.client->buffers.lse != nullptr)
    return;
  auto& own = f.client->own_lse; // with the request, which every kernel that writes it pins
  own.resize(std::size_t{f.client->buffers.rows} * context_->dims.query_heads);
  f.client->buffers.lse = own.data();
}

/// Takes the last rows of the first part: the newest queries have the most to miss.
std::shared_ptr<router_state::audit_flow> router_state::take_audit(const attend_flow& f) {
  auto pin = f.client->try_pin();
  if (!f.audited || !pin)
    return nullptr;
  const auto& dims = context_->dims;
  const auto& part = f.request.parts.front();
  auto a = std::make_shared<audit_flow>();
  a->rows = std::min(part.tokens, audited_rows);
  const auto row = part.row_begin + part.tokens - a->rows;
  const auto& b = pin.buffers();
  a->q = copy_rows(b.q, row, a->rows, dims.query_heads, dims.head_dim);
  a->out = copy_rows(b.out, row, a->rows, dims.query_heads, dims.head_dim);
  a->q_type = b.q.type;
  a->out_type = b.out.type;
  const auto* lse = b.lse + std::size_t{row} * dims.query_heads;
  a->lse.assign(lse, lse + std::size_t{a->rows} * dims.query_heads);
  a->full_out.resize(std::size_t{a->rows} * dims.query_heads * dims.head_dim);
  a->full_lse.resize(a->lse.size());
  return a;
}

void router_state::audit(const attend_flow& f, std::shared_ptr<audit_flow> a) {
  if (!a)
    return;
  const auto& dims = context_->dims;
  auto part = f.request.parts.front();
  part.position += part.tokens - a->rows;
  part.tokens = a->rows;
  part.row_begin = 0;
  auto r = std::make_shared<request>();
  r->kind = request_kind::attend;
  r->lane = lane_;
  r->incarnation = f.client->incarnation;
  r->begun = request::clock::now();
  r->deadline = r->begun + f.policies->settings.limits.deadline;
  r->exact = true;
  r->policies = f.policies;
  r->buffers.q = dense(a->q, a->q_type, dims.query_heads, dims.head_dim);
  r->buffers.out = {reinterpret_cast<std::byte*>(a->full_out.data()), dtype::f32,
                    std::uint64_t{dims.query_heads} * dims.head_dim, dims.head_dim};
  r->buffers.lse = a->full_lse.data();
  r->buffers.rows = a->rows;
  // The publisher owns the buffers. It runs inside this actor, when the flow ends, unless the
  // request is swept: then nothing is compared.
  auto done = std::make_shared<bool>(false);
  r->publish = [a, done](const result<request_outcome>& x) { *done = x.ok(); };
  client_request again{request_kind::attend, context_->requests.add(r), f.request.layer, {part}};
  audits_.emplace(again.ticket, [this, a, done] {
    if (*done)
      compare_audit(a);
  });
  enqueue(std::move(again));
}

void router_state::compare_audit(const std::shared_ptr<audit_flow>& a) {
  auto& kernels = context_->devices[lane_.value % context_->devices.size()].device->kernels();
  jobs_.launch(
      self_, *context_->lanes[lane_.value].stream, "audit",
      [a, dims = context_->dims, &kernels](gpu::executor& x, error&) {
        kernels.audit({dims, a->rows, dense(a->out, a->out_type, dims.query_heads, dims.head_dim),
                       a->lse.data(), a->full_out.data(), a->full_lse.data(), &a->coverage,
                       &a->output_error},
                      x);
      },
      [this, a] {
        probe_->coverage(a->coverage);
        probe_->output_error(a->output_error);
      },
      [](const error&) {});
}

} // namespace pikv
