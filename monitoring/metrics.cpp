// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/metrics.hpp>

#include <algorithm>

#include <prometheus/text_serializer.h>

#include <pikv/monitoring/detail/core.hpp>

namespace pikv::monitoring {

namespace {

const metric_info& info(detail::metric_id x) noexcept { return catalog()[std::size_t(x)]; }

prometheus::Labels labels_of(detail::metric_id x, const std::vector<std::string>& values) {
  prometheus::Labels out;
  const auto names = info(x).labels;
  for (std::size_t i = 0; i < names.size() && i < values.size(); ++i)
    out.emplace(std::string{names[i]}, values[i]);
  return out;
}

} // namespace

detail::batched_histogram::batched_histogram(prometheus::Histogram& target,
                                             std::span<const double> bounds,
                                             prometheus::Counter& rejected)
    : target_(&target), bounds_(bounds), rejected_(&rejected), counts_(bounds.size() + 1),
      bucket_(std::size_t(std::lower_bound(bounds.begin(), bounds.end(), last_) - bounds.begin())) {
}

void detail::batched_histogram::observe(double x, double weight) noexcept {
  if (!std::isfinite(x)) {
    rejected_->Increment(weight);
    return;
  }
  if (x != last_) { // thousands of pages of one attend have the same distance
    last_ = x;
    bucket_ = std::size_t(std::lower_bound(bounds_.begin(), bounds_.end(), x) - bounds_.begin());
  }
  counts_[bucket_] += weight;
  sum_ += x * weight;
  dirty_ = true;
}

void detail::batched_histogram::flush() {
  if (!dirty_)
    return;
  target_->ObserveMultiple(counts_, sum_);
  std::fill(counts_.begin(), counts_.end(), 0.0);
  sum_ = 0;
  dirty_ = false;
}

metrics::impl::impl(std::string_view backend) {
  for (std::size_t i = 0; i < detail::metric_count; ++i) {
    const auto& x = catalog()[i];
    const std::string name{x.name};
    const std::string help{x.help};
    // The accounts are kept here, so that one scrape sees all of an attend or nothing.
    if (id(i) == id::entries)
      continue;
    switch (x.type) {
    case metric_type::counter:
      families_[i] = &prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
      break;
    case metric_type::gauge:
      families_[i] = &prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
      break;
    case metric_type::histogram:
      families_[i] = &prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
      break;
    }
  }
  counter(id::metrics_rejected_samples);
  gauge(id::build_info, {PIKV_VERSION, std::string{backend}}).Set(1);
}

prometheus::Counter& metrics::impl::counter(id x, const values& labels) {
  return std::get<prometheus::Family<prometheus::Counter>*>(families_[std::size_t(x)])
      ->Add(labels_of(x, labels));
}

prometheus::Gauge& metrics::impl::gauge(id x, const values& labels) {
  return std::get<prometheus::Family<prometheus::Gauge>*>(families_[std::size_t(x)])
      ->Add(labels_of(x, labels));
}

detail::batched_histogram metrics::impl::histogram(id x, const values& labels) {
  const auto bounds = info(x).buckets;
  auto& target = std::get<prometheus::Family<prometheus::Histogram>*>(families_[std::size_t(x)])
                     ->Add(labels_of(x, labels),
                           prometheus::Histogram::BucketBoundaries(bounds.begin(), bounds.end()));
  return {target, bounds, counter(id::metrics_rejected_samples)};
}

void metrics::impl::add(const entry_account& x) noexcept {
  std::lock_guard guard{accounts_mutex_};
  accounts_ += x;
}

std::vector<prometheus::MetricFamily> metrics::impl::collect() const {
  entry_account sum;
  {
    std::lock_guard guard{accounts_mutex_};
    sum = accounts_;
  }
  prometheus::MetricFamily entries;
  entries.name = info(id::entries).name;
  entries.help = info(id::entries).help;
  entries.type = prometheus::MetricType::Counter;
  const auto add = [&](const char* outcome, std::uint64_t n) {
    prometheus::ClientMetric x;
    x.label.push_back({"outcome", outcome});
    x.counter.value = double(n);
    entries.metric.push_back(std::move(x));
  };
  add("existing", sum.existing);
  add("read", sum.read);
  add("not_routed", sum.not_routed);
  add("not_selected", sum.not_selected);
  add("evicted", sum.evicted);
  add("lost", sum.lost);
  auto out = registry_.Collect();
  out.push_back(std::move(entries));
  return out;
}

metrics::metrics(std::string_view backend) : impl_(std::make_shared<impl>(backend)) {}
metrics::~metrics() = default;
metrics::metrics(metrics&&) noexcept = default;
metrics& metrics::operator=(metrics&&) noexcept = default;

std::string metrics::text() const {
  return prometheus::TextSerializer{}.Serialize(impl_->collect());
}

} // namespace pikv::monitoring
