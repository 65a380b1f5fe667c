// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a router tells the metrics.
///
/// Shared by all probes: a probe is a handle (copies name the same one) for one thread at a time,
/// usually the actor that it was made for. Counters and gauges show at once; histograms are kept
/// locally and show after flush(), which the owner calls on a tick and which the end of the last
/// copy does too. Gauges fall to zero with their probe. Nothing throws except for lack of memory.
#pragma once

#include <cstdint>
#include <memory>

#include <pikv/messages/types.hpp>
#include <pikv/monitoring/labels.hpp>

namespace pikv::monitoring {

class router_probe {
public:
  class impl;
  explicit router_probe(std::shared_ptr<impl> x) noexcept : impl_(std::move(x)) {}

  void request_begun(request_kind kind) noexcept;
  /// Every request that begun ends here exactly once. `seconds`: from its arrival.
  void request_ended(request_kind kind, errc code, double seconds);
  /// Requests in this lane's table now.
  void in_flight(std::uint64_t requests) noexcept;
  void refused_overloaded() noexcept;
  void deadline_missed() noexcept;

  /// The account of one attend. A scrape sees all six numbers of an attend or none of them.
  void accounts(const entry_account& x) noexcept;
  /// Mean number of shards in the routes of `rows` query rows.
  void route_width(double mean_shards, std::uint64_t rows) noexcept;

  /// Results of an audit of an attend of one layer: share of the softmax mass that was read, in
  /// 0..1, and relative L2 error of the output. Layers from 127 on share the label "127+".
  void audited(std::uint32_t layer, double coverage, double output_error);
  /// What rows are told to reach (0: no target), and whether audits meet the target.
  void fidelity(double coverage, bool held) noexcept;

  void flush();

private:
  std::shared_ptr<impl> impl_;
};

} // namespace pikv::monitoring
