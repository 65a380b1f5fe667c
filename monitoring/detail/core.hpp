// SPDX-License-Identifier: Apache-2.0
/// \file
/// The registry with a family for each entry of the catalog. Private to monitoring.
#pragma once

#include <array>
#include <cmath>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <pikv/messages/types.hpp>
#include <pikv/monitoring/catalog.hpp>
#include <pikv/monitoring/detail/ids.hpp>
#include <pikv/monitoring/metrics.hpp>

namespace pikv::monitoring {

namespace detail {

/// Collects observations for one thread and hands them to the shared, locked histogram at once.
class batched_histogram {
public:
  batched_histogram(prometheus::Histogram& target, std::span<const double> bounds,
                    prometheus::Counter& rejected);

  /// `weight`: how many observations of that value. Values that are not finite are only counted.
  void observe(double x, double weight = 1) noexcept;
  void flush();

private:
  prometheus::Histogram* target_;
  std::span<const double> bounds_;
  prometheus::Counter* rejected_;
  std::vector<double> counts_; // [bounds + 1], the last for what is above all bounds
  double last_ = 0;            // of `observe`
  std::size_t bucket_;         // of `last_`
  double sum_ = 0;
  bool dirty_ = false;
};

} // namespace detail

class metrics::impl {
public:
  using id = detail::metric_id;
  using values = std::vector<std::string>;

  explicit impl(std::string_view backend);

  /// The series of these label values, made on first use. Precondition: the id is of that type.
  /// References stay valid as long as this lives.
  prometheus::Counter& counter(id x, const values& labels = {});
  prometheus::Gauge& gauge(id x, const values& labels = {});
  detail::batched_histogram histogram(id x, const values& labels = {});

  void add(const entry_account& x) noexcept;
  std::vector<prometheus::MetricFamily> collect() const;

private:
  using family =
      std::variant<prometheus::Family<prometheus::Counter>*, prometheus::Family<prometheus::Gauge>*,
                   prometheus::Family<prometheus::Histogram>*>;

  prometheus::Registry registry_;
  std::array<family, detail::metric_count> families_{};
  mutable std::mutex accounts_mutex_; // never held while anything else is done
  entry_account accounts_;
};

} // namespace pikv::monitoring
