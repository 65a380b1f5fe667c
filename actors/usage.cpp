// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/usage.hpp>

namespace pikv {

namespace {

device_usage usage_of(device_id device, const owner_usage& u) noexcept {
  // Copies of tables are taken from the same memory as pages: as overhead they would count twice.
  const auto held = u.page_bytes + u.summary_bytes + u.table_copy_bytes;
  return {device,
          u.sequences,
          u.pages_window,
          u.pages_settled,
          u.page_bytes,
          u.summary_bytes,
          u.table_bytes,
          u.table_copy_bytes,
          u.reserved_bytes > held ? u.reserved_bytes - held : 0,
          u.reserved_bytes - u.used_bytes,
          u.reserved_bytes};
}

} // namespace

cache_usage usage_of(std::span<const owner_usage> owners) {
  cache_usage out;
  for (const auto& u : owners) {
    const auto& d = out.devices.emplace_back(
        usage_of(device_id{static_cast<std::uint32_t>(out.devices.size())}, u));
    out.sequences += u.sequences;
    out.entries += u.entries;
    out.pages_window += u.pages_window;
    out.pages_settled += u.pages_settled;
    out.pages_evicted += u.pages_evicted;
    out.page_bytes += d.page_bytes;
    out.summary_bytes += d.summary_bytes;
    out.table_bytes += d.table_bytes;
    out.overhead_bytes += d.overhead_bytes;
  }
  return out;
}

} // namespace pikv
