// SPDX-License-Identifier: Apache-2.0
/// \file
/// Holds a fidelity target at few bytes read: from what audits measure it moves the coverage that
/// each row is told to reach (selection.coverage, routing `adaptive`).
///
/// What a row is told and what audits then measure differ: a row whose window holds enough misses
/// less than it may, and an estimate errs. So the controller learns the ratio of measured to
/// allowed missed mass, per layer, and allows what brings the mean over the layers into a band
/// below the target's missed mass: [1/2, 1] of it. Inside the inner part of the band it leaves the
/// setting as it is (hysteresis). A new target takes effect at once, with the ratios that were
/// learnt.
#pragma once

#include <cstdint>
#include <vector>

namespace pikv::policies {

/// 0: not asked for.
struct fidelity_target {
  double coverage = 0;         ///< mean share of the softmax mass to read
  double max_output_error = 0; ///< mean relative L2 error of outputs to stay below
  friend bool operator==(const fidelity_target&, const fidelity_target&) = default;

  bool asked() const noexcept { return coverage > 0 || max_output_error > 0; }
};

/// Plain data of one thread; deterministic.
class fidelity_controller {
public:
  /// The target in force. The same one again changes nothing.
  void aim(const fidelity_target& x);

  /// One audit of an attend of `layer` whose rows were told `coverage()` when it began (`told`).
  /// Figures that are not finite are left out.
  void observe(std::uint32_t layer, double told, double coverage, double output_error);

  /// What rows are to reach, in (0, 1); 0 without a target.
  double coverage() const noexcept { return target_.asked() ? 1 - allowed_ : 0; }

  /// False when the mean of recent audits has missed the target for 48 audits in a row: reading
  /// more does not help, as where a route leaves the rest out, or has not helped yet.
  bool held() const noexcept { return held_; }

private:
  /// Fading sums of one layer.
  struct layer_ratio {
    double weight = 0;
    double allowed = 0, missed = 0, error = 0;
  };

  double mean_ratio(double layer_ratio::*measured) const;
  double mean(double layer_ratio::*measured) const;
  double wanted() const;
  bool reached() const;

  fidelity_target target_;
  std::vector<layer_ratio> layers_;
  double allowed_ = 0; ///< missed mass that each row is allowed
  std::uint32_t observations_ = 0;
  std::uint32_t missed_ = 0; ///< audits in a row after which the target was missed
  bool held_ = true;
};

} // namespace pikv::policies
