// SPDX-License-Identifier: Apache-2.0
// Sequences come, fork and go; accounts of what all owners hold.
#include <functional>
#include <memory>

#include <fmt/format.h>

#include <pikv/actors/router/state.hpp>

namespace pikv {

void router_state::open(const client_request& r) {
  const auto id = r.parts.front().sequence;
  auto& s = sequences_.open(id);
  caf::anon_send(owner(context_->home_of(id)), sequence_work{sequence_verb::open, id, {}});
  s.counted = try_end(r, request_outcome{});
}

/// Says it to every owner and the scheduler; calls `done` when all owners have answered.
void router_state::tell_owners(const request& q, const sequence_work& w,
                               std::function<void(const error&)> done) {
  caf::anon_send(context_->scheduler.get(0).handle, w);
  auto waiting = std::make_shared<std::size_t>(context_->devices.size());
  auto failed = std::make_shared<error>();
  auto answered = [waiting, failed, done = std::move(done)] {
    if (--*waiting == 0)
      done(*failed);
  };
  for (std::uint32_t d = 0; d < context_->devices.size(); ++d)
    self_->request(owner({d}), time_left(q), w)
        .then([answered](ack_atom) { answered(); },
              [failed, answered](const caf::error& e) {
                *failed = from_caf(e, "a change of a sequence");
                answered();
              });
}

void router_state::fork(const client_request& r, const std::shared_ptr<request>& q) {
  const auto parent = r.parts[0].sequence;
  const auto child = r.parts[1].sequence;
  if (auto s = usable(parent); !s)
    return end(r, s.error());
  sequences_.fork(parent, child);
  tell_owners(*q, {sequence_verb::fork, parent, child}, [this, r, q, child](const error& failed) {
    auto* s = sequences_.find(child);
    if (failed.code != errc::ok)
      end(r, failed);
    else if (s != nullptr && (s->counted = try_end(r, request_outcome{})))
      return;
    sequences_.close(child); // the client never heard of it
    tell_owners(*q, {sequence_verb::close, child, {}}, [](const error&) {});
  });
}

void router_state::change(const client_request& r, const std::shared_ptr<request>& q,
                          sequence_verb verb) {
  const auto id = r.parts.front().sequence;
  if (auto s = usable(id, verb == sequence_verb::close); !s)
    return end(r, s.error());
  if (verb == sequence_verb::close) {
    if (sequences_.find(id)->counted)
      context_->sequences.fetch_sub(1);
    sequences_.close(id);
    context_->open.remove(id);
  }
  tell_owners(*q, {verb, id, {}}, [this, r](const error& failed) {
    if (failed.code != errc::ok)
      end(r, failed);
    else
      end(r, request_outcome{});
  });
}

void router_state::usage(const client_request& r, const std::shared_ptr<request>& q) {
  auto waiting = std::make_shared<std::size_t>(context_->devices.size());
  auto total = std::make_shared<result<request_outcome>>(request_outcome{});
  (*total)->usage.resize(context_->devices.size());
  auto answered = [this, r, waiting, total] {
    if (--*waiting == 0)
      end(r, std::move(*total));
  };
  for (std::uint32_t d = 0; d < context_->devices.size(); ++d)
    self_->request(owner({d}), time_left(*q), usage_atom_v)
        .then(
            [total, answered, d](const owner_usage& u) {
              if (total->ok())
                (*total)->usage[d] = u;
              answered();
            },
            [total, answered](const caf::error& e) {
              *total = from_caf(e, "the usage report");
              answered();
            });
}

} // namespace pikv
