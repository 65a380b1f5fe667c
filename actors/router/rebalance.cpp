// SPDX-License-Identifier: Apache-2.0
// Shards that change their device: the map of owners is brought up to date from what lanes have
// read, and the pages of this lane's sequences follow it, some at every tick, a (sequence, layer)
// at a time that nothing works on.
#include <algorithm>
#include <map>

#include <pikv/actors/router/state.hpp>

namespace pikv {

/// Pages of one (sequence, layer) that go from one device to another.
struct router_state::migration {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  device_id from{}, to{};
  std::vector<std::uint32_t> pages;
};

void router_state::rebalance() {
  const auto p = context_->policies.current();
  const auto tolerated = p ? p->placement->tolerated_imbalance() : 0;
  if (tolerated <= 0 || context_->devices.size() < 2)
    return;
  notice_restarts();
  context_->shards.publish(lane_, shards_.load());
  if (lane_.value == 0) // one of them decides
    context_->shards.rebalance(tolerated);
  if (settled_version_ == context_->shards.version())
    return;
  for (const auto& m : find_migrations())
    migrate(m);
}

/// Some of the pages that are not where their shard is; none that anything works on. Where there
/// are no more, remembers so.
std::vector<router_state::migration> router_state::find_migrations() {
  constexpr std::size_t most_pages = 1024; // at a tick
  const auto version = context_->shards.version();
  std::vector<migration> out;
  std::size_t pages = 0;
  bool all = true;
  sequences_.for_each([&](sequence_id id, sequence_record& s) {
    for (std::uint32_t l = 0; l < s.layers.size() && !s.broken; ++l) {
      auto& layer = s.layers[l];
      std::map<std::pair<device_id, device_id>, migration> moves;
      for (std::uint32_t page = 0; page < layer.device_of.size(); ++page) {
        if (layer.device_of[page] == layer_record::no_device
            || layer.shard_of[page] == layer_record::no_shard)
          continue;
        const device_id from{layer.device_of[page]};
        const auto to = context_->shards.owner({layer.shard_of[page]});
        if (from == to)
          continue;
        if (layer.fences > 0 || layer.attends > 0 || pages >= most_pages) {
          all = false;
          break;
        }
        ++pages;
        auto& m = moves.try_emplace({from, to}, migration{id, l, from, to, {}}).first->second;
        m.pages.push_back(page);
      }
      for (auto& [devices, m] : moves)
        out.push_back(std::move(m));
    }
  });
  if (all && out.empty())
    settled_version_ = version;
  return out;
}

void router_state::migrate(const migration& m) {
  fence(m.sequence, m.layer, 1);
  auto lift = [this, m] {
    fence(m.sequence, m.layer, -1);
    pump();
  };
  self_
      ->request(owner(m.from), context_->settings.limits.deadline,
                migrate_work{m.layer, m.sequence, m.to, m.pages})
      .then(
          [this, m, lift](const settle_done& done) {
            migrated(m, done);
            lift();
          },
          [this, m, lift](const caf::error&) {
            // The old owner may have gone down when the new one had them already: they are lost.
            self_
                ->request(owner(m.to), context_->settings.limits.deadline,
                          drop_work{m.layer, m.sequence, m.pages})
                .then([lift](ack_atom) { lift(); }, [lift](const caf::error&) { lift(); });
          });
}

void router_state::migrated(const migration& m, const settle_done& done) {
  notice_restarts();
  auto* s = sequences_.find(m.sequence);
  if (s == nullptr)
    return;
  auto& layer = s->layers[m.layer];
  for (const auto page : m.pages) // those that stay are not asked for again
    layer.shard_of[page] = layer_record::no_shard;
  for (const auto& o : done.settled) {
    if (layer.device_of[o.page] == m.from.value)
      layer.left(o.page);
    else // the old owner went down after it had given them away
      std::erase(layer.lost, o.page);
    if (o.incarnation == owners_[o.device.value].incarnation)
      layer.arrived(o.page, o.device, o.shard.value);
    else
      layer.lost.push_back(o.page);
  }
  const auto p = context_->policies.current();
  tell_scheduler(m.layer, p->version, done.settled, p->budget->limits());
}

} // namespace pikv
