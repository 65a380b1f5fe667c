// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/router_probe.hpp>

#include <algorithm>

#include <pikv/monitoring/detail/core.hpp>

namespace pikv::monitoring {

class router_probe::impl {
public:
  using id = detail::metric_id;
  static constexpr std::size_t kinds = value_count<request_kind>;

  impl(std::shared_ptr<metrics::impl> core, lane_id lane)
      : core_(std::move(core)), in_flight_(core_->gauge(id::router_requests_in_flight, name(lane))),
        overloaded_(core_->counter(id::router_overloaded, name(lane))),
        deadline_missed_(core_->counter(id::router_deadline_missed, name(lane))),
        route_shards_(core_->histogram(id::router_route_shards)),
        coverage_(core_->histogram(id::router_coverage)),
        output_error_(core_->histogram(id::router_output_error)) {
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
    output_error_.flush();
  }

  static metrics::impl::values name(lane_id lane) { return {std::to_string(lane.value)}; }

  std::shared_ptr<metrics::impl> core_;
  prometheus::Gauge& in_flight_;
  prometheus::Counter& overloaded_;
  prometheus::Counter& deadline_missed_;
  detail::batched_histogram route_shards_;
  detail::batched_histogram coverage_;
  detail::batched_histogram output_error_;
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

void router_probe::coverage(double x) noexcept {
  // Rounding may lift a full coverage a little above 1; more than that is a fault and shows.
  constexpr double rounding = 1e-5;
  impl_->coverage_.observe(x > 1 && x <= 1 + rounding ? 1.0 : x);
}

void router_probe::output_error(double x) noexcept { impl_->output_error_.observe(x); }

void router_probe::flush() { impl_->flush(); }

} // namespace pikv::monitoring
