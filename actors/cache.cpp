// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/cache.hpp>

#include <cmath>
#include <thread>

#include <fmt/format.h>

#include <pikv/actors/cache_impl.hpp>
#include <pikv/actors/input_checks.hpp>
#include <pikv/actors/usage.hpp>

namespace pikv {

namespace {

/// A completion and the publisher that fills it with what `pick` takes from the outcome.
template <class T, class Pick>
std::pair<completion<T>, request::publisher>
promised(Pick pick, std::shared_ptr<gpu::ticket> ticket = nullptr) {
  auto state = std::make_shared<detail::completion_state<T>>();
  state->ticket = std::move(ticket);
  request::publisher publish = [state, pick](result<request_outcome> x) {
    if (!x)
      state->fill(x.error());
    else
      state->fill(pick(*x));
  };
  return {completion<T>{state}, std::move(publish)};
}

const_tensor readable(const tensor& x) noexcept {
  return {x.data, x.bytes, x.type, x.order, x.rows, x.heads, x.dim, x.row_stride, x.head_stride};
}

} // namespace

const model_shape& cache::shape() const noexcept { return impl_->context().shape; }

result<sequence_id> cache::open() {
  auto& context = impl_->context();
  auto policies = context.policies.current();
  const auto limit = policies->settings.limits.max_sequences;
  const auto open_now = context.sequences.fetch_add(1);
  if (open_now >= limit) {
    context.sequences.fetch_sub(1);
    return {errc::overloaded, fmt::format("{} sequences are open; close one, or raise "
                                          "limits.max_sequences",
                                          limit)};
  }
  auto id = context.new_sequence(context.turns.fetch_add(1));
  context.open.add(id);
  impl::call c;
  c.kind = request_kind::open;
  c.parts = {{id, 0, 0, 0}};
  // Nothing has to be waited for: later calls for the sequence follow this one in its lane. Only a
  // refusal at the door is known here.
  auto state = std::make_shared<detail::completion_state<void>>();
  impl_->submit(std::move(c), [state, id, impl = impl_](result<request_outcome> x) {
    if (!x) {
      impl->context().sequences.fetch_sub(1);
      impl->context().open.remove(id);
    }
    state->fill(x ? result<void>{} : result<void>{x.error()});
  });
  if (state->ready() && !state->get())
    return state->get().error();
  return id;
}

completion<sequence_id> cache::fork(sequence_id parent) {
  auto& context = impl_->context();
  const auto child = context.new_sequence(parent.value);
  context.sequences.fetch_add(1);
  context.open.add(child);
  auto [done, publish] = promised<sequence_id>([child](const auto&) { return child; });
  impl::call c;
  c.kind = request_kind::fork;
  c.parts = {{parent, 0, 0, 0}, {child, 0, 0, 0}};
  impl_->submit(std::move(c), [&context, child, impl = impl_, f = std::move(publish)](auto x) {
    if (!x) {
      context.sequences.fetch_sub(1);
      context.open.remove(child);
    }
    f(std::move(x));
  });
  return done;
}

completion<void> cache::close(sequence_id x) {
  auto state = std::make_shared<detail::completion_state<void>>();
  impl::call c;
  c.kind = request_kind::close;
  c.parts = {{x, 0, 0, 0}};
  impl_->submit(std::move(c), [state](auto r) { // its router counts it off
    state->fill(r ? result<void>{} : result<void>{r.error()});
  });
  return completion<void>{state};
}

completion<void> cache::pin(sequence_id x, bool pinned) {
  auto state = std::make_shared<detail::completion_state<void>>();
  impl::call c;
  c.kind = pinned ? request_kind::pin : request_kind::unpin;
  c.parts = {{x, 0, 0, 0}};
  impl_->submit(std::move(c),
                [state](auto r) { state->fill(r ? result<void>{} : result<void>{r.error()}); });
  return completion<void>{state};
}

completion<append_report> cache::append(std::uint32_t layer, std::span<const batch_part> parts,
                                        const const_tensor& k, const const_tensor& v,
                                        const append_options& options) {
  using done = completion<append_report>;
  const auto& s = shape();
  auto rows = check_parts(s, layer, parts);
  if (!rows)
    return done::ended(rows.error());
  const auto n = rows_of(*rows);
  auto kr = check_tensor("k", k, n, s.kv_heads, s.head_dim);
  if (!kr)
    return done::ended(kr.error());
  auto vr = check_tensor("v", v, n, s.kv_heads, s.head_dim);
  if (!vr)
    return done::ended(vr.error());
  if (auto r = check_reach(impl_->context(), {kr->data, vr->data}); !r)
    return done::ended(r.error());
  if (options.deadline.count() < 0)
    return done::ended({errc::invalid_argument, "deadline: it must not be negative"});
  impl::call c;
  c.kind = request_kind::append;
  if (auto r = impl_->put_behind(c, options.stream); !r)
    return done::ended(r.error());
  auto [result, publish] = promised<append_report>(
      [n](const request_outcome& x) { return append_report{n, x.attend.config_version}; },
      c.buffers.ticket);
  c.layer = layer;
  c.parts = std::move(*rows);
  c.buffers.k = *kr;
  c.buffers.v = *vr;
  c.buffers.rows = n;
  c.deadline = options.deadline;
  impl_->submit(std::move(c), std::move(publish));
  return result;
}

completion<annotate_report> cache::annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                            std::span<const float> gate_logits) {
  using done = completion<annotate_report>;
  const auto& s = shape();
  auto rows = check_parts(s, layer, parts);
  if (!rows)
    return done::ended(rows.error());
  const auto n = rows_of(*rows);
  if (s.experts == 0)
    return done::ended({errc::unsupported, "the model was opened without experts: it has no gate"});
  if (gate_logits.data() == nullptr)
    return done::ended({errc::null_buffer, "gate_logits: the buffer is null"});
  if (gate_logits.size() != std::size_t{n} * s.experts)
    return done::ended({errc::shape_mismatch,
                        fmt::format("gate_logits: {} values; expected {} rows x {} experts = {}",
                                    gate_logits.size(), n, s.experts, std::size_t{n} * s.experts)});
  for (std::size_t i = 0; i < gate_logits.size(); ++i)
    if (!std::isfinite(gate_logits[i]))
      return done::ended(
          {errc::not_finite, fmt::format("gate_logits: row {}, expert {} is not finite",
                                         i / s.experts, i % s.experts)});
  auto [result, publish] = promised<annotate_report>(
      [](const request_outcome& x) { return annotate_report{x.attend.config_version}; });
  impl::call c;
  c.kind = request_kind::annotate;
  c.layer = layer;
  c.parts = std::move(*rows);
  c.buffers.gate = gate_logits;
  c.buffers.rows = n;
  impl_->submit(std::move(c), std::move(publish));
  return result;
}

completion<attend_report> cache::attend(std::uint32_t layer, std::span<const batch_part> parts,
                                        const const_tensor& q, const tensor& out,
                                        const attend_options& options) {
  using done = completion<attend_report>;
  const auto& s = shape();
  auto rows = check_parts(s, layer, parts);
  if (!rows)
    return done::ended(rows.error());
  const auto n = rows_of(*rows);
  auto qr = check_tensor("q", q, n, s.query_heads, s.head_dim);
  if (!qr)
    return done::ended(qr.error());
  auto outr = check_tensor("out", readable(out), n, s.query_heads, s.head_dim);
  if (!outr)
    return done::ended(outr.error());
  if (!options.lse.empty() && options.lse.size() < std::size_t{n} * s.query_heads)
    return done::ended(
        {errc::shape_mismatch, fmt::format("lse: {} values; expected {} rows x {} query heads",
                                           options.lse.size(), n, s.query_heads)});
  if (auto r = check_reach(impl_->context(), {qr->data, outr->data, options.lse.data()}); !r)
    return done::ended(r.error());
  if (options.deadline.count() < 0)
    return done::ended({errc::invalid_argument, "deadline: it must not be negative"});
  impl::call c;
  c.kind = request_kind::attend;
  if (auto r = impl_->put_behind(c, options.stream); !r)
    return done::ended(r.error());
  auto [result, publish] = promised<attend_report>(
      [](const request_outcome& x) { return x.attend; }, c.buffers.ticket);
  c.layer = layer;
  c.parts = std::move(*rows);
  c.buffers.q = *qr;
  c.buffers.out = *outr;
  c.buffers.lse = options.lse.empty() ? nullptr : options.lse.data();
  c.buffers.rows = n;
  c.deadline = options.deadline;
  c.exact = options.exact;
  c.allow_lost = options.allow_lost;
  impl_->submit(std::move(c), std::move(publish));
  return result;
}

completion<cache_usage> cache::usage() {
  auto [result, publish] =
      promised<cache_usage>([](const request_outcome& x) { return usage_of(x.usage); });
  impl::call c;
  c.kind = request_kind::usage;
  impl_->submit(std::move(c), std::move(publish));
  return result;
}

namespace detail {

result<void> enqueue_wait(gpu::ticket* ticket, void* stream) {
  if (ticket == nullptr)
    return {errc::invalid_argument,
            "the call named no stream (attend_options::stream), so no stream can wait for it"};
  return ticket->hold(stream);
}

const std::uint32_t* status_of(const gpu::ticket* ticket) noexcept {
  return ticket == nullptr ? nullptr : ticket->status();
}

void spin_pause() noexcept {
  // Spinning alone would starve the workers where cores are few; yielding every time is slow where
  // they are not.
  thread_local unsigned spins = 0;
  if (++spins % 16 == 0)
    std::this_thread::yield();
  else
    __builtin_ia32_pause();
}

} // namespace detail

} // namespace pikv
