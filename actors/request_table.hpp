// SPDX-License-Identifier: Apache-2.0
/// \file
/// The requests in flight, by ticket: the client's buffers and the promise to the client.
///
/// This is the one place where a request ends, exactly once, whoever ends it first: the router with
/// a result, the deadline sweep, the supervisor after a death, or `stop`. A task that touches the
/// client's buffers holds a pin; a request that ends meanwhile tells its client only when the last
/// pin is gone, so a client may free its buffers as soon as it has heard.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include <pikv/actors/batch_vote.hpp>
#include <pikv/actors/cache.hpp>
#include <pikv/gpu/device.hpp>
#include <pikv/messages/protocol.hpp>

namespace pikv {

class device_order;
struct policy_set;

/// Everything a request may bring back.
struct request_outcome {
  attend_report attend;
  std::vector<owner_usage> usage; ///< by device
  std::uint64_t table_bytes = 0;
};

/// The client's memory, resolved to what kernels take.
struct request_buffers {
  gpu::tensor_ref k, v, q, out;
  float* lse = nullptr;        ///< `[rows, query_heads]` or null
  std::span<const float> gate; ///< `[rows, experts]`
  std::uint32_t rows = 0;
  gpu::event ready;                    ///< streams wait for it before they touch the tensors
  std::shared_ptr<gpu::ticket> ticket; ///< null, or what the client's stream waits for
  bool ticket_waits = false; ///< it passes when the request ends, not behind its last kernel
};

/// One request of one lane.
class request : public std::enable_shared_from_this<request> {
public:
  using clock = std::chrono::steady_clock;
  using publisher = std::function<void(result<request_outcome>)>;

  request_kind kind = request_kind::open;
  lane_id lane{};
  std::uint64_t incarnation = 0; ///< of the lane's router when the request was made
  request_buffers buffers;
  std::vector<float> own_lse; ///< behind buffers.lse where PiKV itself wants it
  clock::time_point begun;
  clock::time_point deadline;
  bool exact = false;
  bool allow_lost = false;
  std::shared_ptr<batch_vote> vote; ///< of an append over several lanes; null: it is in one
  std::shared_ptr<device_order> order; ///< of an attend whose devices wait for each other, else null
  std::shared_ptr<const policy_set> policies; ///< the configuration that this request runs under
  publisher publish;                          ///< called once

  /// Keeps the buffers valid while it lives.
  class pin {
  public:
    pin() = default;
    explicit pin(std::shared_ptr<request> r) noexcept : request_(std::move(r)) {}
    pin(pin&&) noexcept = default;
    pin& operator=(pin&& other) noexcept;
    ~pin() { drop(); }
    explicit operator bool() const noexcept { return request_ != nullptr; }
    const request_buffers& buffers() const noexcept { return request_->buffers; }

  private:
    void drop() noexcept;
    std::shared_ptr<request> request_;
  };

  /// An empty pin when the request has ended.
  pin try_pin();

  /// The first call wins; returns false for later ones.
  bool end(result<request_outcome> x);

private:
  void unpin();
  void tell(result<request_outcome> x);
  std::mutex mutex_;
  std::uint32_t pins_ = 0;
  bool ended_ = false;
  std::unique_ptr<result<request_outcome>> outcome_; // waits for the last pin
};

/// Thread-safe.
class request_table {
public:
  using clock = request::clock;

  /// Enters a request and gives it a ticket.
  ticket_id add(std::shared_ptr<request> r);
  std::shared_ptr<request> find(ticket_id ticket) const;

  /// Ends the request and forgets it; returns false when it had ended before.
  bool end(ticket_id ticket, result<request_outcome> x);

  /// Ends what is overdue; returns how many. Called every few milliseconds.
  std::size_t sweep(clock::time_point now);
  /// Ends the requests of a lane that an earlier incarnation of its router had.
  std::size_t end_lane(lane_id lane, std::uint64_t before_incarnation, const error& why);
  std::size_t end_all(const error& why);

  std::size_t size() const;

private:
  template <class Predicate>
  std::size_t end_if(Predicate&& p, const error& why);

  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::unordered_map<ticket_id, std::shared_ptr<request>> requests_;
};

} // namespace pikv
