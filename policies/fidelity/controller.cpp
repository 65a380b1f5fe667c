// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/fidelity/controller.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace pikv::policies {

namespace {

constexpr double fading = 7.0 / 8;     // of a layer's sums, per audit of that layer
constexpr std::uint32_t enough = 8;    // audits before the ratios are believed
constexpr double least_allowed = 1e-6; // nothing more to give: rows read all but noise
constexpr double most_allowed = 0.5;
constexpr double aimed = 0.75; // of the target's missed mass: the middle of the band
constexpr double band_low = 0.6, band_high = 0.9;
constexpr double largest_step = 4;     // per audit
constexpr std::uint32_t patience = 48; // audits before a miss is said

} // namespace

void fidelity_controller::aim(const fidelity_target& x) {
  if (x == target_)
    return;
  if (!target_.asked() || !x.asked()) { // nothing was learnt for this one
    layers_.clear();
    observations_ = 0;
  }
  target_ = x;
  held_ = true;
  missed_ = 0;
  const auto before = allowed_;
  allowed_ = x.asked() ? wanted() : 0;
  // What was measured under the old target, as it would be under the new one: the ratios stay.
  for (auto& layer : layers_)
    for (auto* sum : {&layer.allowed, &layer.missed, &layer.error})
      *sum = before > 0 ? *sum * allowed_ / before : 0;
}

/// Mean over the layers that have been audited of measured over allowed missed mass; 1 while little
/// is known.
double fidelity_controller::mean_ratio(double layer_ratio::*measured) const {
  double sum = 0, layers = 0;
  for (const auto& x : layers_)
    if (x.weight > 0 && x.allowed > 0) {
      sum += x.*measured / x.allowed;
      ++layers;
    }
  return observations_ < enough || layers == 0 ? 1.0 : sum / layers;
}

double fidelity_controller::mean(double layer_ratio::*measured) const {
  double sum = 0, layers = 0;
  for (const auto& x : layers_)
    if (x.weight > 0) {
      sum += x.*measured / x.weight;
      ++layers;
    }
  return layers == 0 ? 0.0 : sum / layers;
}

/// The missed mass to allow for the middle of the band.
double fidelity_controller::wanted() const {
  auto out = std::numeric_limits<double>::infinity();
  const auto within = [&out](double limit, double ratio) {
    out = std::min(out, ratio > 0 ? aimed * limit / ratio : most_allowed);
  };
  if (target_.coverage > 0)
    within(1 - target_.coverage, mean_ratio(&layer_ratio::missed));
  if (target_.max_output_error > 0)
    within(target_.max_output_error, mean_ratio(&layer_ratio::error));
  return std::clamp(out, least_allowed, most_allowed);
}

bool fidelity_controller::reached() const {
  return (target_.coverage <= 0 || mean(&layer_ratio::missed) <= 1 - target_.coverage)
         && (target_.max_output_error <= 0
             || mean(&layer_ratio::error) <= target_.max_output_error);
}

void fidelity_controller::observe(std::uint32_t layer, double told, double coverage,
                                  double output_error) {
  if (!target_.asked() || !std::isfinite(coverage) || !std::isfinite(output_error)
      || !(told > 0 && told < 1))
    return;
  if (layers_.size() <= layer)
    layers_.resize(layer + 1);
  auto& x = layers_[layer];
  for (auto* sum : {&x.weight, &x.allowed, &x.missed, &x.error})
    *sum *= fading;
  x.weight += 1;
  x.allowed += 1 - told;
  x.missed += std::max(0.0, 1 - coverage);
  x.error += output_error;
  ++observations_;
  if (observations_ < enough)
    return;
  // Ratios change with what is allowed, so the way there is taken in steps, and not for noise.
  const auto next = wanted();
  const auto off = allowed_ / next * aimed; // where in the band the present setting leads
  if (off < band_low || off > band_high)
    allowed_ = std::clamp(next, allowed_ / largest_step, allowed_ * largest_step);
  missed_ = reached() ? 0 : missed_ + 1;
  held_ = missed_ < patience;
}

} // namespace pikv::policies
