// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/router_probe.hpp>

#include <algorithm>
#include <map>

#include <pikv/monitoring/detail/core.hpp>

namespace pikv::monitoring {

class router_probe::impl {
public:
  using id = detail::metric_id;
  static constexpr std::size_t kinds = value_count<request_kind>;

  struct layer_histograms {
    detail::batched_histogram missed, error;
  };

  impl(std::shared_ptr<metrics::impl> core, lane_id lane)
      : core_(std::move(core)), in_flight_(core_->gauge(id::router_requests_in_flight, name(lane))),
        overloaded_(core_->counter(id::router_overloaded, name(lane))),
        deadline_missed_(core_->counter(id::router_deadline_missed, name(lane))),
        route_shards_(core_->histogram(id::router_route_shards)),
        coverage_(core_->histogram(id::router_coverage)),
        fidelity_coverage_(core_->gauge(id::router_fidelity_coverage, name(lane))),
        fidelity_held_(core_->gauge(id::router_fidelity_held, name(lane))) {
    fidelity_held_.Set(1);
    for (std::size_t i = 0; i < kinds; ++i) {
      const std::string kind{to_string(request_kind(i))};
      begun_[i] = &core_->counter(id::router_requests, {kind});
      seconds_.push_back(core_->histogram(id::router_request_seconds, {kind}));
      ended(request_kind(i), errc::ok);
    }
  }

  ~impl() {
    flush();
    in_flight_.Set(0);
    fidelity_coverage_.Set(0);
    fidelity_held_.Set(0);
  }

  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  prometheus::Counter& ended(request_kind kind, errc code) {
    auto& slot = ended_[std::size_t(kind)][std::size_t(code)];
    if (!slot)
      slot = &core_->counter(id::router_requests_ended,
                             {std::string{to_string(kind)}, std::string{to_string(code)}});
    return *slot;
  }

  void flush() {
    for (auto& x : seconds_)
      x.flush();
    route_shards_.flush();
    coverage_.flush();
    for (auto& [layer, x] : layers_) {
      x.missed.flush();
      x.error.flush();
    }
  }

  layer_histograms& of_layer(std::uint32_t layer) {
    constexpr std::uint32_t most = 127;
    layer = std::min(layer, most);
    const auto found = layers_.find(layer);
    if (found != layers_.end())
      return found->second;
    const metrics::impl::values label{layer < most ? std::to_string(layer) : "127+"};
    return layers_
        .emplace(layer, layer_histograms{core_->histogram(id::router_missed_mass, label),
                                         core_->histogram(id::router_output_error, label)})
        .first->second;
  }

  static metrics::impl::values name(lane_id lane) { return {std::to_string(lane.value)}; }

  std::shared_ptr<metrics::impl> core_;
  prometheus::Gauge& in_flight_;
  prometheus::Counter& overloaded_;
  prometheus::Counter& deadline_missed_;
  detail::batched_histogram route_shards_;
  detail::batched_histogram coverage_;
  prometheus::Gauge& fidelity_coverage_;
  prometheus::Gauge& fidelity_held_;
  std::map<std::uint32_t, layer_histograms> layers_; ///< those that were audited
  std::array<prometheus::Counter*, kinds> begun_{};
  std::array<std::array<prometheus::Counter*, value_count<errc>>, kinds> ended_{};
  std::vector<detail::batched_histogram> seconds_;
};

router_probe metrics::router(lane_id lane) const {
  return router_probe{std::make_shared<router_probe::impl>(impl_, lane)};
}

void router_probe::request_begun(request_kind kind) noexcept {
  impl_->begun_[std::size_t(kind)]->Increment();
}

void router_probe::request_ended(request_kind kind, errc code, double seconds) {
  impl_->ended(kind, code).Increment();
  impl_->seconds_[std::size_t(kind)].observe(seconds);
}

void router_probe::in_flight(std::uint64_t requests) noexcept {
  impl_->in_flight_.Set(double(requests));
}

void router_probe::refused_overloaded() noexcept { impl_->overloaded_.Increment(); }

void router_probe::deadline_missed() noexcept { impl_->deadline_missed_.Increment(); }

void router_probe::accounts(const entry_account& x) noexcept { impl_->core_->add(x); }

void router_probe::route_width(double mean_shards, std::uint64_t rows) noexcept {
  impl_->route_shards_.observe(mean_shards, double(rows));
}

void router_probe::audited(std::uint32_t layer, double coverage, double output_error) {
  // Rounding may lift a full coverage a little above 1; more than that is a fault and shows.
  constexpr double rounding = 1e-5;
  const auto x = coverage > 1 && coverage <= 1 + rounding ? 1.0 : coverage;
  impl_->coverage_.observe(x);
  auto& of_layer = impl_->of_layer(layer);
  of_layer.missed.observe(1 - x);
  of_layer.error.observe(output_error);
}

void router_probe::fidelity(double coverage, bool held) noexcept {
  impl_->fidelity_coverage_.Set(coverage);
  impl_->fidelity_held_.Set(held ? 1 : 0);
}

void router_probe::flush() { impl_->flush(); }

} // namespace pikv::monitoring
