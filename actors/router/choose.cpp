// SPDX-License-Identifier: Apache-2.0
// What a choice of shards and pages is made from, and who makes it.
#include <algorithm>

#include <pikv/actors/router/attend_flow.hpp>
#include <pikv/actors/shard_owner/choosing.hpp>

namespace pikv {

shard_facts router_state::known_of_shards(const policy_set& p) {
  shard_facts x;
  if (p.version >= fidelity_version_) {
    fidelity_version_ = p.version;
    fidelity_.aim({p.settings.fidelity.coverage_target, p.settings.fidelity.max_output_error});
  }
  x.coverage = fidelity_.coverage();
  if (p.routing->needs_load())
    x.load = shards_.load();
  if (p.routing->needs_misses())
    x.misses = shards_.misses();
  return x;
}

/// Where all settled pages of the batch lie on one device, it chooses among them itself, unless the
/// scores of so many rows are better made in pieces of scratch memory.
bool router_state::owner_can_choose(const attend_flow& f) const {
  if (f.owners.size() != 1)
    return false;
  const auto& kernels = context_->devices[f.owners.front().device.value].device->kernels();
  return scores_bytes(f) <= most_score_bytes && can_choose(kernels, context_->dims, *f.policies);
}

std::uint64_t router_state::scores_bytes(const attend_flow& f) const {
  std::uint64_t scores = 0;
  for (const auto& part : f.request.parts)
    scores += std::uint64_t{part.tokens} * context_->dims.query_heads
              * sequences_.find(part.sequence)->layers[f.request.layer].settled;
  return scores * sizeof(float);
}

/// Into scratch memory of the first owner, where it may be read on the device.
result<void> router_state::take_gates(attend_flow& f) {
  const auto experts = context_->shape.experts;
  if (!f.policies->routing->needs_gate() || f.request.layer == 0 || experts == 0)
    return {};
  const auto rows = f.client->buffers.rows;
  auto block = context_->devices[f.owners.front().device.value].device->scratch().allocate(
      known_gates::bytes(rows, experts));
  if (!block)
    return block.error();
  f.gates = {std::move(*block), rows, experts};
  std::fill_n(f.gates.known(), rows, std::uint8_t{0});
  for (const auto& part : f.request.parts) {
    const auto& gate = sequences_.find(part.sequence)->layers[f.request.layer - 1].gate;
    for (std::uint32_t t = 0; t < part.tokens; ++t) {
      const auto logits = gate_logits(gate, part.position + t, experts);
      const auto row = std::size_t{part.row_begin} + t;
      std::ranges::copy(logits, f.gates.logits() + row * experts);
      f.gates.known()[row] = logits.empty() ? 0 : 1;
    }
  }
  return {};
}

} // namespace pikv
