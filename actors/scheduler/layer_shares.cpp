// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/scheduler/layer_shares.hpp>

#include <algorithm>
#include <cmath>

namespace pikv {

void layer_shares::attended(const attended_event& e) {
  if (e.layer >= layers_.size() || e.pages.empty() || e.rows == 0)
    return; // without settled pages there is nothing outside the window
  double mass = 0;
  for (const auto& use : e.pages)
    mass += static_cast<double>(use.mass);
  if (!std::isfinite(mass))
    return; // of a failed or foreign attend; one of them would spoil the mean for good
  auto& l = layers_[e.layer];
  ++l.attends;
  const auto weight = 1 / static_cast<double>(std::min<std::uint64_t>(l.attends, memory));
  l.mass += weight * (mass / e.rows - l.mass);
  settle_on();
}

void layer_shares::settle_on() {
  double sum = 0;
  for (const auto& l : layers_) {
    if (l.attends < warm_up)
      return;
    sum += l.mass;
  }
  if (!(sum > 0))
    return;
  const bool off = in_force_.empty() || [&] {
    for (std::size_t i = 0; i < layers_.size(); ++i)
      if (std::abs(layers_[i].mass / sum - in_force_[i]) > band * in_force_[i])
        return true;
    return false;
  }();
  if (!off)
    return;
  in_force_.resize(layers_.size());
  std::ranges::transform(layers_, in_force_.begin(),
                         [sum](const layer& l) { return l.mass / sum; });
}

} // namespace pikv
