// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/cuda/cuda_ticket.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include <pikv/gpu/cuda/cuda_event.hpp>
#include <pikv/gpu/cuda/driver.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

namespace {

/// Both words lie in mapped host memory. The value only grows, so that whoever waits for an earlier
/// use of the slot is never stopped by a later one.
struct ticket_slot {
  std::uint32_t* value = nullptr;
  std::uint32_t* status = nullptr;
  std::uint32_t next = 0;
};

/// Slots are used again and never freed: a stream may look at them when their ticket has gone.
class slot_pool {
public:
  result<ticket_slot> take() {
    const std::lock_guard guard{mutex_};
    if (free_.empty())
      if (auto r = grow(); !r)
        return r.error();
    auto x = free_.back();
    free_.pop_back();
    ++x.next;
    std::atomic_ref{*x.status}.store(0, std::memory_order_relaxed);
    return x;
  }
  void give_back(const ticket_slot& x) {
    const std::lock_guard guard{mutex_};
    free_.push_back(x);
  }

private:
  static constexpr std::size_t slots_at_once = 2048;

  result<void> grow() {
    std::uint32_t* words = nullptr;
    if (const auto code = cudaHostAlloc(reinterpret_cast<void**>(&words), slots_at_once * 8,
                                        cudaHostAllocMapped | cudaHostAllocPortable);
        code != cudaSuccess) {
      cudaGetLastError();
      return {errc::over_budget, "the system pins no memory for tickets"};
    }
    for (std::size_t i = 0; i < slots_at_once; ++i) {
      words[2 * i] = words[2 * i + 1] = 0;
      free_.push_back({words + 2 * i, words + 2 * i + 1, 0});
    }
    return {};
  }

  std::mutex mutex_;
  std::vector<ticket_slot> free_;
};

slot_pool& pool() {
  static auto* x = new slot_pool; // outlives every ticket, whenever that goes
  return *x;
}

class cuda_ticket final : public ticket {
public:
  cuda_ticket(const ticket_slot& s, bool by_host) noexcept
      : slot_(s), eager_(!by_host && loads_eagerly()) {}
  ~cuda_ticket() override {
    end(errc::cancelled); // does nothing where it has passed
    pool().give_back(slot_);
  }

  result<void> hold(void* native_stream) override {
    auto* stream = static_cast<CUstream_st*>(native_stream);
    if (eager_)
      return wait_value(stream, slot_.value, slot_.next);
    std::unique_lock guard{mutex_};
    changed_.wait(guard, [this] { return passed_ || ended_; }); // a request ends by its deadline
    if (passed_)
      passed_->hold(stream);
    return {};
  }

  const std::uint32_t* status() const noexcept override { return slot_.status; }

  void pass(executor& x) noexcept override {
    auto& q = queue_of(x);
    q.begin();
    if (eager_) {
      if (auto r = write_value(q.stream(), slot_.value, slot_.next); !r)
        q.fail(r.error()); // the request fails, and `end` passes the ticket
      else
        enqueued_.store(true, std::memory_order_release);
      return;
    }
    {
      const std::lock_guard guard{mutex_};
      passed_.emplace();
      passed_->record(q.stream());
    }
    changed_.notify_all();
  }

  void end(errc code) noexcept override {
    {
      const std::lock_guard guard{mutex_};
      if (ended_)
        return;
      ended_ = true;
    }
    if (code != errc::ok)
      std::atomic_ref{*slot_.status}.store(static_cast<std::uint32_t>(code),
                                           std::memory_order_release);
    if (code != errc::ok || !enqueued_.load(std::memory_order_acquire))
      std::atomic_ref{*slot_.value}.store(slot_.next, std::memory_order_release);
    changed_.notify_all();
  }

private:
  const ticket_slot slot_;
  const bool eager_; ///< streams wait for the value
  std::atomic<bool> enqueued_{false}; ///< the GPU writes the value
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<cuda_event> passed_; ///< instead of the value
  bool ended_ = false;
};

} // namespace

result<std::shared_ptr<ticket>> make_cuda_ticket(bool by_host) {
  auto slot = pool().take();
  if (!slot)
    return slot.error();
  return std::shared_ptr<ticket>{std::make_shared<cuda_ticket>(*slot, by_host)};
}

} // namespace pikv::gpu::cuda
