// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/host/host_device.hpp>

#include <chrono>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pikv/gpu/host/host_stream.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/thread_pool.hpp>
#include <pikv/gpu/memory/slab_arena.hpp>

namespace pikv::gpu {

namespace {

constexpr std::uint32_t most_threads = 1024;
constexpr std::chrono::microseconds longest_spin = std::chrono::seconds(10);

std::string readable(std::size_t bytes) {
  constexpr std::string_view units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto x = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; x >= 1024 && unit + 1 < std::size(units); ++unit)
    x /= 1024;
  return fmt::format("{:.4g} {}", x, units[unit]);
}

class host_device final : public device {
public:
  host_device(const device_options& x, fault_plan faults)
      : options_(x), faults_(std::move(faults)),
        memory_(slab_arena::make(x.id, arena_kind::memory, x.memory_bytes,
                                 hook(faults_.allocation, arena_kind::memory))),
        scratch_(slab_arena::make(x.id, arena_kind::scratch, x.scratch_bytes,
                                  hook(faults_.allocation, arena_kind::scratch))),
        workers_(std::make_shared<thread_pool>(x.threads, x.spin,
                                               fmt::format("pikv{}.helper", x.id.value))) {}

  device_id id() const noexcept override { return options_.id; }
  std::string_view backend() const noexcept override { return "host"; }
  arena& memory() noexcept override { return *memory_; }
  arena& scratch() noexcept override { return *scratch_; }
  const kernel_table& kernels() const noexcept override { return host_kernels(); }

  std::unique_ptr<stream> make_stream(stream_role role) override {
    try {
      return std::make_unique<host_stream>(
          workers_,
          host_stream::options{.name = fmt::format("pikv{}.{}", options_.id.value, to_string(role)),
                               .spin = options_.spin,
                               .fault = hook(faults_.task, role)});
    } catch (const std::system_error&) {
      return nullptr;
    }
  }

  std::string describe() const override {
    return fmt::format("host: {}, {} thread{}, {}", host_simd_target(), options_.threads,
                       options_.threads == 1 ? "" : "s", readable(options_.memory_bytes));
  }

private:
  template <class Of>
  static std::function<error(std::uint64_t)>
  hook(const std::function<error(Of, std::uint64_t)>& plan, Of of) {
    if (!plan)
      return {};
    return [plan, of](std::uint64_t nth) { return plan(of, nth); };
  }

  const device_options options_;
  const fault_plan faults_;
  const slab_arena_ptr memory_;
  const slab_arena_ptr scratch_;
  const std::shared_ptr<thread_pool> workers_; // streams share it
};

} // namespace

fault_plan fail_allocation(arena_kind arena, std::uint64_t nth) {
  return {.allocation =
              [arena, nth](arena_kind a, std::uint64_t n) {
                return a == arena && n == nth
                           ? error{errc::over_budget, fmt::format("injected: allocation {}", n)}
                           : error{};
              },
          .task = {}};
}

fault_plan fail_task(stream_role role, std::uint64_t nth) {
  return {.allocation = {}, .task = [role, nth](stream_role r, std::uint64_t n) {
            return r == role && n == nth
                       ? error{errc::internal, fmt::format("injected: task {}", n)}
                       : error{};
          }};
}

result<std::shared_ptr<device>> make_host_device(const device_options& options, fault_plan faults) {
  if (options.threads == 0 || options.threads > most_threads)
    return {errc::invalid_argument, fmt::format("a host device needs 1 to {} threads, not {}",
                                                most_threads, options.threads)};
  if (options.spin.count() < 0 || options.spin > longest_spin)
    return {errc::invalid_argument, fmt::format("spin must be 0 to {} us, not {}",
                                                longest_spin.count(), options.spin.count())};
  if (options.memory_bytes == 0)
    return {errc::invalid_argument, "a host device needs a memory budget of at least 1 byte"};
  try {
    return std::shared_ptr<device>(std::make_shared<host_device>(options, std::move(faults)));
  } catch (const std::system_error& e) {
    return {errc::overloaded, fmt::format("the system refused {} threads for host device {}: {}",
                                          options.threads, options.id.value, e.what())};
  }
}

} // namespace pikv::gpu
