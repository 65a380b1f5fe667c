// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/device.hpp>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#ifdef PIKV_WITH_CUDA
#include <pikv/gpu/cuda/cuda_device.hpp>
#endif
#include <pikv/gpu/host/host_device.hpp>

namespace pikv::gpu {

namespace {

using factory = result<std::shared_ptr<device>> (*)(const device_options&);

struct backend {
  std::string_view name;
  factory make;
};

constexpr std::array table = {
    backend{"host", [](const device_options& x) { return make_host_device(x); }},
#ifdef PIKV_WITH_CUDA
    backend{"cuda", [](const device_options& x) { return cuda::make_cuda_device(x); }},
#endif
};

constexpr auto backend_names = [] {
  std::array<std::string_view, table.size()> names;
  for (std::size_t i = 0; i < table.size(); ++i)
    names[i] = table[i].name;
  return names;
}();

} // namespace

block::block(const block& other) noexcept
    : arena_(other.arena_), data_(other.data_), bytes_(other.bytes_), slot_(other.slot_) {
  if (arena_ != nullptr)
    arena_->retain(slot_);
}

block::block(block&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)), data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)), slot_(std::exchange(other.slot_, 0)) {}

block& block::operator=(block other) noexcept {
  std::swap(arena_, other.arena_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(slot_, other.slot_);
  return *this;
}

block::~block() {
  if (arena_ != nullptr)
    arena_->release(slot_);
}

buffer_ref block::ref() const noexcept {
  return arena_ != nullptr ? arena_->ref_of(slot_, bytes_) : buffer_ref{};
}

block arena::make_block(std::byte* data, std::size_t bytes, std::uint32_t slot) noexcept {
  block x;
  x.arena_ = this;
  x.data_ = data;
  x.bytes_ = bytes;
  x.slot_ = slot;
  return x;
}

bool event::done() const noexcept { return impl_ == nullptr || impl_->done(); }

namespace {

error no_native_streams(std::string_view backend) {
  return {errc::unsupported, fmt::format("backend {} has no GPU streams to order calls by; leave "
                                         "the stream out",
                                         backend)};
}

} // namespace

result<event> device::follow(void*) { return no_native_streams(backend()); }

result<std::shared_ptr<ticket>> device::make_ticket(bool) { return no_native_streams(backend()); }

result<void> check_form(const device& x, form stored) {
  if (std::ranges::find(x.forms(), stored) != x.forms().end())
    return {};
  std::vector<std::string_view> names;
  for (const form f : x.forms())
    names.push_back(to_string(f));
  return {errc::unsupported,
          fmt::format("backend {} has no kernels for pages in {}; it holds: {}; choose a "
                      "compression.policy of these",
                      x.backend(), to_string(stored), fmt::join(names, ", "))};
}

std::string_view to_string(stream_role x) noexcept {
  switch (x) {
  case stream_role::compute: return "compute";
  case stream_role::codec: return "codec";
  case stream_role::copy: return "copy";
  case stream_role::lane: return "lane";
  }
  return "unknown";
}

std::span<const std::string_view> backends() noexcept { return backend_names; }

result<std::shared_ptr<device>> make_device(std::string_view backend,
                                            const device_options& options) {
  for (const auto& x : table)
    if (x.name == backend)
      return x.make(options);
  return {errc::unsupported, fmt::format("no backend \"{}\" in this build; it has: {}", backend,
                                         fmt::join(backend_names, ", "))};
}

} // namespace pikv::gpu
