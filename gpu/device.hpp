// SPDX-License-Identifier: Apache-2.0
/// \file
/// The device interface: arenas, streams, events and the kernel table. Actors hold devices by
/// shared_ptr; nothing here knows of actors. Every function is thread-safe unless it says
/// otherwise, and none blocks unless it says so.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <pikv/gpu/kernels.hpp>
#include <pikv/gpu/ticket.hpp>
#include <pikv/messages/buffer_ref.hpp>
#include <pikv/messages/error.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::gpu {

class arena;

/// A shared handle of one allocation. Copies share it; the memory goes back to the arena with the
/// last copy. A running kernel's task holds copies: that is what a read lease is.
class block {
public:
  block() = default;
  block(const block& other) noexcept;
  block(block&& other) noexcept;
  block& operator=(block other) noexcept;
  ~block();

  explicit operator bool() const noexcept { return arena_ != nullptr; }
  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; } ///< as asked for
  buffer_ref ref() const noexcept;                      ///< to send in a message; see arena::share

private:
  friend class arena;
  arena* arena_ = nullptr; // outlives its blocks, also when the device goes first
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t slot_ = 0;
};

/// What an arena holds at one moment, in bytes.
/// requested <= used <= reserved <= mapped <= capacity.
struct arena_usage {
  std::size_t capacity = 0;   ///< the budget
  std::size_t reserved = 0;   ///< taken from the budget, free slots of started slabs included
  std::size_t used = 0;       ///< handed out, rounding included
  std::size_t requested = 0;  ///< as asked for
  std::size_t mapped = 0;     ///< taken from the system, idle memory kept for reuse included
  std::size_t high_water = 0; ///< largest `reserved` so far
};

/// A memory budget and its allocator: size classes in slabs, so that pages of one size never
/// fragment each other. Exceeding the capacity is an ordinary result (errc::over_budget).
class arena {
public:
  virtual ~arena() = default;

  virtual result<block> allocate(std::size_t bytes) = 0; ///< 64-byte aligned
  virtual arena_usage usage() const noexcept = 0;

  /// The block that `ref` names, shared; errc::corrupt_page when it is gone (its generation
  /// passed).
  virtual result<block> share(const buffer_ref& ref) = 0;

protected:
  friend class block;
  block make_block(std::byte* data, std::size_t bytes, std::uint32_t slot) noexcept;
  virtual void retain(std::uint32_t slot) noexcept = 0;
  virtual void release(std::uint32_t slot) noexcept = 0;
  virtual buffer_ref ref_of(std::uint32_t slot, std::size_t bytes) const noexcept = 0;
};

/// A point in a stream that other streams can wait for. Copyable; copies are the same event. An
/// event becomes done in any case, because a stream runs all its work before it goes.
class event {
public:
  class impl;
  event() = default;
  explicit event(std::shared_ptr<impl> p) : impl_(std::move(p)) {}
  bool recorded() const noexcept { return impl_ != nullptr; }
  bool done() const noexcept; ///< true for an event that was never recorded
  const std::shared_ptr<impl>& get() const noexcept { return impl_; }

private:
  std::shared_ptr<impl> impl_;
};

/// What a backend's events derive from.
class event::impl {
public:
  virtual ~impl() = default;
  virtual bool done() const noexcept = 0;
  virtual void wait() noexcept = 0; ///< blocks the calling thread until done
};

/// What a stream is for; backends may give roles different priorities or hardware queues.
enum class stream_role : std::uint8_t { compute, codec, copy, lane };

std::string_view to_string(stream_role x) noexcept;

/// Time that a stream spent on tasks since it was made.
struct stream_usage {
  std::chrono::nanoseconds busy{0};
  std::uint64_t tasks = 0;
};

/// An ordered queue of device work. Tasks of one stream run one after another in the order in which
/// they were enqueued; different streams run side by side, ordered by events only.
class stream {
public:
  /// Work: kernel launches, on the stream's thread. The device may still be at them when the call
  /// returns, so the task object (what it captured, not its locals) owns what they touch: blocks,
  /// pins. What a kernel leaves for the host may be read from `executor::when_done` on. It must not
  /// throw; a throw is caught and reported to `done` as errc::internal.
  using task = std::function<void(executor&)>;
  /// Called once with the outcome of the task, after the device has done its work and the task
  /// object (and so the blocks that it holds) is gone; on a thread of the backend. It must be short
  /// and must neither block nor throw: it sends a message.
  using completion = std::function<void(const result<void>&)>;

  virtual ~stream() = default; ///< blocks until all enqueued work has run
  /// `label` names the task in traces; a string that lives as long as the process.
  virtual void enqueue(task work, completion done = {}, const char* label = "task") = 0;
  virtual event record() = 0;                  ///< an event after all work enqueued so far
  virtual void wait(const event& earlier) = 0; ///< later work waits; own events: nothing to do
  virtual stream_usage usage() const noexcept = 0;
  virtual void synchronize() = 0; ///< blocks; tests and teardown only
};

inline constexpr form all_forms[form_count] = {form::f32,  form::f16, form::bf16, form::int8,
                                               form::int4, form::fp8, form::int3, form::int2,
                                               form::k4v2, form::k3v2};

/// One logical device.
class device {
public:
  virtual ~device() = default;
  virtual device_id id() const noexcept = 0;
  virtual std::string_view backend() const noexcept = 0; ///< "host", "cuda"
  /// The GPU that it lives on; devices of one GPU reach each other's memory. -1: the host.
  virtual int gpu() const noexcept { return -1; }
  /// Whether kernels can be given a tensor at this address: false for the memory of another GPU
  /// without peer access.
  virtual bool reaches(const void*) const noexcept { return true; }
  virtual arena& memory() noexcept = 0;  ///< pages and summaries: the tier's budget
  virtual arena& scratch() noexcept = 0; ///< what the host reads: scores, selections
  /// What devices write into each other's memory within a request: partials, gathered scores. The
  /// host may not read it unless it is its own.
  virtual arena& exchange() noexcept { return scratch(); }
  /// Null when the system refuses a thread or queue. A stream may outlive its device.
  virtual std::unique_ptr<stream> make_stream(stream_role role) = 0;
  virtual const kernel_table& kernels() const noexcept = 0;
  /// For page tables that attends read (kernels.hpp); null where kernels read them in place. The
  /// kernels of one stream use it.
  virtual std::shared_ptr<table_mirror> make_mirror() { return nullptr; }
  /// An event after the work that a native stream of the caller (CUDA: cudaStream_t, of the calling
  /// thread's current device) has been given so far. errc::unsupported without such streams.
  virtual result<event> follow(void* native_stream);
  /// A ticket for such streams (ticket.hpp); errc::unsupported without them.
  /// `by_host`: no task will pass it, so `hold` blocks until the request has ended.
  virtual result<std::shared_ptr<ticket>> make_ticket(bool by_host);
  /// Whether a cache of these dimensions can live here, raw pages in this form; prepares for it.
  /// May block: called once, before the first stream is made.
  virtual result<void> supports(const cache_dims&, form /*raw*/) const { return {}; }
  /// The forms of pages that its kernels can encode and read.
  virtual std::span<const form> forms() const noexcept { return all_forms; }
  virtual std::string describe() const = 0; ///< one line: SIMD target, threads, budget
};

/// errc::unsupported, naming the forms that `x` can hold, unless `stored` is one of them.
result<void> check_form(const device& x, form stored);

/// What a device is made from.
struct device_options {
  device_id id{};
  std::size_t memory_bytes = std::size_t{1} << 30;
  std::size_t scratch_bytes = std::size_t{256} << 20;
  std::size_t exchange_bytes = 0; ///< cuda: 0: none, `exchange` is `scratch`
  std::uint32_t threads = 1; ///< host: threads that share one kernel's work, the stream's included
  /// host: how long an idle worker spins before it sleeps; longer answers sooner and burns a core.
  std::chrono::microseconds spin{50};
  /// cuda: refuse a GPU that does not reach the memory of every GPU in use, and they its.
  bool peers_required = true;
};

/// Makes a device of the named backend; errc::unsupported lists those that this build has.
result<std::shared_ptr<device>> make_device(std::string_view backend,
                                            const device_options& options);

/// Names of the backends in this build.
std::span<const std::string_view> backends() noexcept;

} // namespace pikv::gpu
