// SPDX-License-Identifier: Apache-2.0
#include <pikv/monitoring/owner_probe.hpp>

#include <algorithm>
#include <optional>

#include <pikv/monitoring/detail/core.hpp>

namespace pikv::monitoring {

class owner_probe::impl {
public:
  using id = detail::metric_id;
  using counter = prometheus::Counter;
  using gauge = prometheus::Gauge;
  struct codec {
    detail::batched_histogram seconds;
    detail::batched_histogram k_error;
    detail::batched_histogram v_error;
  };

  impl(std::shared_ptr<metrics::impl> core, device_id device, std::uint32_t shards)
      : core_(std::move(core)), device_(std::to_string(device.value)),
        appended_(core_->counter(id::owner_entries_appended, {device_})),
        freed_(core_->counter(id::owner_pages_freed, {device_})),
        window_pages_(add_gauge(id::owner_pages, {device_, "window"})),
        settled_pages_(add_gauge(id::owner_pages, {device_, "settled"})),
        page_bytes_(add_gauge(id::owner_page_bytes, {device_})),
        summary_bytes_(add_gauge(id::owner_summary_bytes, {device_})),
        reserved_bytes_(add_gauge(id::owner_reserved_bytes, {device_})),
        capacity_bytes_(add_gauge(id::owner_capacity_bytes, {device_})),
        scratch_bytes_(add_gauge(id::owner_scratch_reserved_bytes, {device_})),
        imbalance_(add_gauge(id::owner_shard_imbalance, {device_})) {
    by_label(settled_, id::owner_pages_settled, form{});
    by_label(encoded_, id::owner_pages_encoded, form{});
    by_label(kept_raw_, id::owner_pages_kept_raw, kept_raw_reason{});
    by_label(pages_evicted_, id::owner_pages_evicted, evict_reason{});
    by_label(entries_evicted_, id::owner_entries_evicted, evict_reason{});
    by_label(busy_, id::owner_stream_busy_seconds, stream_role{});
    for (std::uint32_t i = 0; i < shards; ++i)
      shard_pages_.push_back(&add_gauge(id::shard_pages, {device_, std::to_string(i)}));
  }

  ~impl() {
    flush();
    for (auto* x : gauges_)
      x->Set(0);
  }

  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  codec& codec_of(form f) {
    auto& slot = codecs_[std::size_t(f)];
    if (!slot) {
      const std::string name{to_string(f)};
      slot.emplace(codec{core_->histogram(id::owner_encode_seconds, {name}),
                         core_->histogram(id::owner_encode_error, {name, "k"}),
                         core_->histogram(id::owner_encode_error, {name, "v"})});
    }
    return *slot;
  }

  void flush() {
    for (auto& x : codecs_) {
      if (!x)
        continue;
      x->seconds.flush();
      x->k_error.flush();
      x->v_error.flush();
    }
  }

private:
  gauge& add_gauge(id x, const metrics::impl::values& labels) {
    auto& out = core_->gauge(x, labels);
    gauges_.push_back(&out);
    return out;
  }

  template <class E>
  void by_label(std::array<counter*, value_count<E>>& out, id x, E) {
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = &core_->counter(x, {device_, std::string{to_string(E(i))}});
  }

  std::vector<gauge*> gauges_; // set to zero at the end

public:
  std::shared_ptr<metrics::impl> core_;
  std::string device_;
  counter& appended_;
  counter& freed_;
  gauge& window_pages_;
  gauge& settled_pages_;
  gauge& page_bytes_;
  gauge& summary_bytes_;
  gauge& reserved_bytes_;
  gauge& capacity_bytes_;
  gauge& scratch_bytes_;
  gauge& imbalance_;
  std::array<counter*, value_count<form>> settled_{};
  std::array<counter*, value_count<form>> encoded_{};
  std::array<counter*, value_count<kept_raw_reason>> kept_raw_{};
  std::array<counter*, value_count<evict_reason>> pages_evicted_{};
  std::array<counter*, value_count<evict_reason>> entries_evicted_{};
  std::array<counter*, value_count<stream_role>> busy_{};
  std::array<std::optional<codec>, value_count<form>> codecs_{};
  std::vector<gauge*> shard_pages_;
};

owner_probe metrics::owner(device_id device, std::uint32_t shards) const {
  return owner_probe{std::make_shared<owner_probe::impl>(impl_, device, shards)};
}

void owner_probe::appended(std::uint64_t entries) noexcept {
  impl_->appended_.Increment(double(entries));
}

void owner_probe::settled(std::uint64_t pages, form f) noexcept {
  impl_->settled_[std::size_t(f)]->Increment(double(pages));
}

void owner_probe::encoded(form f, std::uint64_t pages, double k_error, double v_error,
                          double seconds) {
  impl_->encoded_[std::size_t(f)]->Increment(double(pages));
  auto& codec = impl_->codec_of(f);
  codec.seconds.observe(seconds);
  codec.k_error.observe(k_error, double(pages));
  codec.v_error.observe(v_error, double(pages));
}

void owner_probe::kept_raw(std::uint64_t pages, kept_raw_reason reason) noexcept {
  impl_->kept_raw_[std::size_t(reason)]->Increment(double(pages));
}

void owner_probe::evicted(std::uint64_t pages, std::uint64_t entries,
                          evict_reason reason) noexcept {
  impl_->pages_evicted_[std::size_t(reason)]->Increment(double(pages));
  impl_->entries_evicted_[std::size_t(reason)]->Increment(double(entries));
}

void owner_probe::freed(std::uint64_t pages) noexcept { impl_->freed_.Increment(double(pages)); }

void owner_probe::pages(std::uint64_t window, std::uint64_t settled) noexcept {
  impl_->window_pages_.Set(double(window));
  impl_->settled_pages_.Set(double(settled));
}

void owner_probe::bytes(const owner_bytes& x) noexcept {
  impl_->page_bytes_.Set(double(x.pages));
  impl_->summary_bytes_.Set(double(x.summaries));
  impl_->reserved_bytes_.Set(double(x.reserved));
  impl_->capacity_bytes_.Set(double(x.capacity));
  impl_->scratch_bytes_.Set(double(x.scratch_reserved));
}

void owner_probe::shard_pages(std::span<const std::uint64_t> pages) noexcept {
  double sum = 0;
  double most = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto n = double(pages[i]);
    sum += n;
    most = std::max(most, n);
    if (i < impl_->shard_pages_.size())
      impl_->shard_pages_[i]->Set(n);
  }
  impl_->imbalance_.Set(sum > 0 ? most * double(pages.size()) / sum : 0);
}

void owner_probe::stream_busy(stream_role role, double seconds) noexcept {
  impl_->busy_[std::size_t(role)]->Increment(seconds);
}

void owner_probe::flush() { impl_->flush(); }

} // namespace pikv::monitoring
