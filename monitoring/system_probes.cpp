// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/system_probes.hpp>

#include <map>

#include <pikv/monitoring/detail/core.hpp>

namespace pikv::monitoring {

using detail::metric_id;
using core_ptr = std::shared_ptr<metrics::impl>;

class scheduler_probe::impl {
public:
  explicit impl(core_ptr core)
      : core_(std::move(core)),
        wanted_(core_->counter(metric_id::scheduler_pages_evicted_then_wanted)),
        reuse_distance_(core_->histogram(metric_id::scheduler_reuse_distance)) {}
  ~impl() { reuse_distance_.flush(); }
  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  core_ptr core_;
  prometheus::Counter& wanted_;
  detail::batched_histogram reuse_distance_;
  std::map<std::string, prometheus::Counter*, std::less<>> evicted_;

  struct ghost {
    prometheus::Counter* reads = nullptr;
    prometheus::Counter* wanted = nullptr;
    prometheus::Gauge* hit_ratio = nullptr;
    // Since the last flush: an attend's reads are many, and counters are atomic.
    std::uint64_t kept = 0, missed = 0;
  };
  std::map<std::string, ghost, std::less<>> ghosts_;
};

scheduler_probe metrics::scheduler() const {
  return scheduler_probe{std::make_shared<scheduler_probe::impl>(impl_)};
}

void scheduler_probe::eviction_ordered(std::string_view policy, std::uint64_t pages) {
  auto it = impl_->evicted_.find(policy);
  if (it == impl_->evicted_.end()) {
    std::string name{policy};
    auto& series = impl_->core_->counter(metric_id::scheduler_pages_evicted, {name});
    it = impl_->evicted_.emplace(std::move(name), &series).first;
  }
  it->second->Increment(double(pages));
}

void scheduler_probe::evicted_then_wanted(std::uint64_t pages) noexcept {
  impl_->wanted_.Increment(double(pages));
}

void scheduler_probe::reuse_distance(std::uint64_t ticks) noexcept {
  impl_->reuse_distance_.observe(double(ticks));
}

void scheduler_probe::ghost_reads(std::string_view policy, std::uint64_t kept,
                                  std::uint64_t missed) {
  auto it = impl_->ghosts_.find(policy);
  if (it == impl_->ghosts_.end()) {
    std::string name{policy};
    auto& core = *impl_->core_;
    it = impl_->ghosts_
             .emplace(name, impl::ghost{
                                &core.counter(metric_id::scheduler_ghost_reads, {name}),
                                &core.counter(metric_id::scheduler_ghost_evicted_then_wanted, {name}),
                                &core.gauge(metric_id::scheduler_ghost_hit_ratio, {name})})
             .first;
  }
  it->second.kept += kept;
  it->second.missed += missed;
}

void scheduler_probe::flush() {
  impl_->reuse_distance_.flush();
  for (auto& [name, x] : impl_->ghosts_) {
    x.reads->Increment(double(x.kept + x.missed));
    x.wanted->Increment(double(x.missed));
    x.kept = x.missed = 0;
    if (const auto reads = x.reads->Value(); reads > 0)
      x.hit_ratio->Set(1 - x.wanted->Value() / reads);
  }
}

class transfer_probe::impl {
public:
  explicit impl(core_ptr core) : core_(std::move(core)) {
    for (std::size_t i = 0; i < value_count<transfer_path>; ++i) {
      const std::string path{to_string(transfer_path(i))};
      bytes_.push_back(&core_->counter(metric_id::transfer_bytes, {path}));
      seconds_.push_back(core_->histogram(metric_id::transfer_seconds, {path}));
    }
  }
  ~impl() { flush(); }
  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  void flush() {
    for (auto& x : seconds_)
      x.flush();
  }

  core_ptr core_;
  std::vector<prometheus::Counter*> bytes_;
  std::vector<detail::batched_histogram> seconds_;
};

transfer_probe metrics::transfer() const {
  return transfer_probe{std::make_shared<transfer_probe::impl>(impl_)};
}

void transfer_probe::transferred(transfer_path path, std::uint64_t bytes, double seconds) {
  impl_->bytes_[std::size_t(path)]->Increment(double(bytes));
  impl_->seconds_[std::size_t(path)].observe(seconds);
}

void transfer_probe::failed(transfer_path path, errc code) {
  impl_->core_
      ->counter(metric_id::transfer_failures,
                {std::string{to_string(path)}, std::string{to_string(code)}})
      .Increment();
}

void transfer_probe::flush() { impl_->flush(); }

class supervisor_probe::impl {
public:
  explicit impl(core_ptr core) : core_(std::move(core)) {
    for (std::size_t i = 0; i < value_count<actor_kind>; ++i) {
      const std::string kind{to_string(actor_kind(i))};
      restarts_[i] = &core_->counter(metric_id::supervisor_restarts, {kind});
      degraded_[i] = &core_->counter(metric_id::supervisor_degraded, {kind});
    }
  }

  core_ptr core_;
  std::array<prometheus::Counter*, value_count<actor_kind>> restarts_{};
  std::array<prometheus::Counter*, value_count<actor_kind>> degraded_{};
};

supervisor_probe metrics::supervisor() const {
  return supervisor_probe{std::make_shared<supervisor_probe::impl>(impl_)};
}

void supervisor_probe::restarted(actor_kind kind) noexcept {
  impl_->restarts_[std::size_t(kind)]->Increment();
}

void supervisor_probe::degraded(actor_kind kind) noexcept {
  impl_->degraded_[std::size_t(kind)]->Increment();
}

class config_probe::impl {
public:
  explicit impl(core_ptr core)
      : core_(std::move(core)), successful_(core_->gauge(metric_id::config_last_reload_successful)),
        timestamp_(core_->gauge(metric_id::config_last_reload_success_timestamp)),
        version_(core_->gauge(metric_id::config_version)) {
    for (std::size_t i = 0; i < value_count<reload_result>; ++i)
      reloads_[i] =
          &core_->counter(metric_id::config_reload, {std::string{to_string(reload_result(i))}});
  }

  core_ptr core_;
  prometheus::Gauge& successful_;
  prometheus::Gauge& timestamp_;
  prometheus::Gauge& version_;
  std::array<prometheus::Counter*, value_count<reload_result>> reloads_{};
};

config_probe metrics::config() const {
  return config_probe{std::make_shared<config_probe::impl>(impl_)};
}

void config_probe::loaded(std::uint64_t version, double unix_seconds) noexcept {
  impl_->successful_.Set(1);
  impl_->timestamp_.Set(unix_seconds);
  impl_->version_.Set(double(version));
}

void config_probe::reload(reload_result result, std::uint64_t version,
                          double unix_seconds) noexcept {
  impl_->reloads_[std::size_t(result)]->Increment();
  impl_->version_.Set(double(version));
  impl_->successful_.Set(result == reload_result::success ? 1 : 0);
  if (result == reload_result::success)
    impl_->timestamp_.Set(unix_seconds);
}

class actor_probe::impl {
public:
  impl(core_ptr core, actor_kind kind, std::uint32_t index)
      : core_(std::move(core)),
        depth_(core_->gauge(metric_id::actor_mailbox_messages,
                            {std::string{to_string(kind)}, std::to_string(index)})) {}
  ~impl() { depth_.Set(0); }
  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  core_ptr core_;
  prometheus::Gauge& depth_;
};

actor_probe metrics::actor(actor_kind kind, std::uint32_t index) const {
  return actor_probe{std::make_shared<actor_probe::impl>(impl_, kind, index)};
}

void actor_probe::mailbox_depth(std::uint64_t messages) noexcept {
  impl_->depth_.Set(double(messages));
}

} // namespace pikv::monitoring
