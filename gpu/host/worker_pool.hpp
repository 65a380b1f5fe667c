// SPDX-License-Identifier: Apache-2.0
/// \file
/// The threads of one host device.
#pragma once

#include <cstddef>
#include <functional>
#include <type_traits>

namespace pikv::gpu {

/// Runs independent parts of one kernel. `run` returns when all parts are done; the calling thread
/// takes part. Parts are claimed dynamically, so uneven parts balance. Several streams may call at
/// once: the helpers then serve whoever asked first, and each caller still makes progress alone.
class executor {
public:
  virtual ~executor() = default;
  virtual std::size_t threads() const noexcept = 0; ///< the caller included

  /// Calls `part(i, worker)` for every i below `parts`; worker < threads() is unique among the
  /// parts of this run that run at the same time, for workspaces that belong to the run. The
  /// caller is worker 0. Parts must not throw. What they write is visible when `run` returns.
  template <class F>
  void run(std::size_t parts, F&& part) noexcept {
    using fn = std::remove_reference_t<F>;
    run_parts(
        parts, [](void* f, std::size_t i, std::size_t w) { (*static_cast<fn*>(f))(i, w); },
        const_cast<std::remove_const_t<fn>*>(&part));
  }

  /// Calls `f` once, before the completion of the running task, when the device has done what the
  /// task has enqueued so far: then the host may read what kernels left. `f` must be short and must
  /// not throw. Where kernels have ended when they return, as on the host, it runs at once.
  virtual void when_done(std::function<void()> f) { f(); }

protected:
  using part_fn = void (*)(void* context, std::size_t part, std::size_t worker);

private:
  virtual void run_parts(std::size_t parts, part_fn f, void* context) noexcept = 0;
};

/// Runs everything on the calling thread.
class serial_executor final : public executor {
public:
  std::size_t threads() const noexcept override { return 1; }

private:
  void run_parts(std::size_t parts, part_fn f, void* context) noexcept override {
    for (std::size_t i = 0; i < parts; ++i)
      f(context, i, 0);
  }
};

} // namespace pikv::gpu
