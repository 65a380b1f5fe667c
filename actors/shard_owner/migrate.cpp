// SPDX-License-Identifier: Apache-2.0
// Settled pages that change their device because their shard did. The router keeps everything away
// from them until this has ended, so a page that is on both devices for a moment is read on one.
#include <algorithm>

#include <pikv/actors/shard_owner/state.hpp>
#include <pikv/messages/caf_error.hpp>

namespace pikv {

struct shard_owner_state::migrating {
  migrate_work work;
  move_work move;
  std::vector<gpu::block> keep; ///< what is copied
  promise<settle_done> reply;
};

void shard_owner_state::migrate(const migrate_work& w, promise<settle_done> p) {
  auto m = std::make_shared<migrating>(migrating{w, {w.target, {}}, {}, std::move(p)});
  auto* sequence = find(w.sequence);
  if (sequence == nullptr)
    return m->reply.deliver(settle_done{});
  const auto& table = sequence->layers[w.layer].settled.read();
  for (const auto page : w.pages) {
    const auto it = std::ranges::lower_bound(table.memory, page, {}, &page_memory::page);
    if (it == table.memory.end() || it->page != page || !it->data)
      continue;
    const auto& view = table.views[static_cast<std::size_t>(it - table.memory.begin())];
    page_record_ref x{w.sequence, w.layer,     page, view.first_position, view.tokens,
                      view.shard, view.stored, 0,    it->data.ref(),      {}};
    x.resettled = true;
    // A summary that had to be made in scratch memory does not travel: who needs it makes it anew.
    if (it->summary && it->summary.ref().arena == x.data.arena) {
      x.summary = it->summary.ref();
      x.summary_parts = view.summary_parts;
      m->keep.push_back(it->summary);
    }
    m->keep.push_back(it->data);
    m->move.pages.push_back(std::move(x));
  }
  if (m->move.pages.empty())
    return m->reply.deliver(settle_done{});
  // Behind everything that still writes summaries.
  jobs_.launch(
      self_, *device().compute, "migrate", [](gpu::executor&, error&) {},
      [this, m] { send_away(m); }, [m](const error& e) { m->reply.deliver(to_caf(e)); });
}

void shard_owner_state::send_away(const std::shared_ptr<migrating>& m) {
  self_->request(context_->transfer.get(0).handle, context_->settings.limits.deadline, m->move)
      .then(
          [this, m](const move_done& done) {
            leave(*m);
            settle_done out;
            for (const auto& x : m->move.pages)
              out.settled.push_back(
                  {x.sequence, x.page, x.shard, m->work.target, x.stored, done.incarnation});
            m->reply.deliver(std::move(out));
          },
          [this, m](const caf::error&) {
            // The transfer may have gone down after the other owner adopted them.
            self_
                ->request(context_->owners.get(m->work.target.value).handle,
                          context_->settings.limits.deadline,
                          drop_work{m->work.layer, m->work.sequence, m->work.pages})
                .then([m](ack_atom) { m->reply.deliver(settle_done{}); },
                      [m](const caf::error&) { m->reply.deliver(settle_done{}); });
          });
}

/// The other device has them now.
void shard_owner_state::leave(const migrating& m) {
  drop({m.work.layer, m.work.sequence, [&] {
          std::vector<std::uint32_t> pages;
          for (const auto& x : m.move.pages)
            pages.push_back(x.page);
          return pages;
        }()});
}

void shard_owner_state::drop(const drop_work& w) {
  auto* s = find(w.sequence);
  if (s == nullptr)
    return;
  auto& layer = s->layers[w.layer];
  for (const auto page : w.pages) {
    drop_settled(layer, geometry_.first_position(page));
    for (auto& ring : rings_)
      std::erase_if(ring, [&](const ring_slot& x) {
        return x.sequence == w.sequence && x.layer == w.layer && x.page == page;
      });
  }
}

} // namespace pikv
