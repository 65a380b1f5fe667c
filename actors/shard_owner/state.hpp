// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a shard owner knows: windows and settled pages of every sequence on its device, the rings
/// of its shards, and what requests in flight hold on to. append.cpp, settle.cpp, attend.cpp and
/// sequences.cpp each have the handlers of one concern; actor.cpp wires them up.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <pikv/actors/context.hpp>
#include <pikv/actors/jobs.hpp>
#include <pikv/actors/page_table.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>
#include <pikv/actors/shard_owner/records.hpp>

namespace pikv {

template <class T>
using promise = owed_answer<T>;

/// What a request holds between its messages.
struct held_request {
  lane_id lane{};
  std::vector<table_lease> leases;  ///< of a survey, one per part: settled pages,
  std::vector<table_lease> windows; ///< and windows, from which pages may settle before the attend
  std::vector<gpu::block> blocks;   ///< scores and partials that the router reads
  partial_place partial;            ///< of the attend, once it is enqueued
};

/// Pages whose summary has to be made first, because the policies changed since they settled.
struct missing_summaries {
  std::uint8_t parts = 0; ///< that are wanted, gpu::summary_part bits
  std::vector<gpu::page_view> pages;
  std::vector<std::byte*> out;
  std::vector<gpu::block> keep;

  /// In a task.
  void make(const gpu::cache_dims& dims, const gpu::kernel_table& kernels, gpu::executor& x) const;
};

/// One page of a shard's ring.
struct ring_slot {
  sequence_id sequence{};
  std::uint32_t layer = 0;
  std::uint32_t page = 0;
};

/// For work of a router on a sequence that this owner does not have. The router knows it as open,
/// so it went with an earlier owner, or with an earlier router of its lane.
error gone(sequence_id x);

class shard_owner_state {
public:
  using pointer = shard_owner_actor::stateful_pointer<shard_owner_state>;

  shard_owner_state() = default; // user-declared: CAF must not initialise members from `self`
  static inline const char* name = "shard_owner";

  void start(pointer self, context_ptr context, device_id device, std::uint64_t incarnation);

  // append.cpp
  void append(const append_work& w, promise<ack_atom> p);
  void truncate(const truncate_work& w);

  // describe.cpp, scatter.cpp, settle.cpp
  void describe(const describe_work& w, promise<ack_atom> p);
  void scatter(const scatter_work& w, promise<scatter_done> p);
  void settle(const settle_work& w, promise<settle_done> p);
  result<void> adopt(const adopt_work& w);
  void migrate(const migrate_work& w, promise<settle_done> p);
  void drop(const drop_work& w);
  std::uint64_t evict(const evict_work& w);

  // survey.cpp, share.cpp, attend.cpp
  void survey(const survey_work& w, promise<survey_done> p);
  void share(const share_work& w, promise<ack_atom> p);
  void attend(const attend_work& w, promise<attend_done> p);
  void tell_partial(const partial_work& w, promise<partial_place> p);
  void release(ticket_id ticket) { held_.erase(ticket); }

  // sequences.cpp
  result<void> change(const sequence_work& w);
  void change_and_reply(const sequence_work& w, promise<ack_atom> p);
  void drop_lane(lane_id lane);
  owner_usage usage() const;
  void announce(); ///< tells a new scheduler of all settled pages
  void tick();

  void finish(const stream_done& x) { jobs_.finish(x); }

  /// Runs `f` now, or after the work that waits for memory; keeps the order of each router's work.
  void in_order(std::function<void()> f);

private:
  struct append_plan;
  struct settling;
  struct migrating;
  struct attending;
  struct surveying;
  struct sharing;

  /// Lets the compute stream wait until the client's tensors may be used.
  void wait_until_ready(ticket_id ticket);

  // append.cpp
  result<append_plan> plan_append(const append_work& w);
  result<void> plan_part(const append_work& w, const work_part& part, append_plan& plan);
  void commit(append_plan plan, promise<ack_atom> p);
  void reclaim_and_retry(const append_work& w, promise<ack_atom> p, std::uint64_t bytes);
  void drain_held();

  // scatter.cpp
  struct scattering;
  std::size_t open_page_of(owned_layer& layer, std::uint16_t shard, std::vector<gpu::block>& fresh,
                           scattering& job);
  bool scatter_page(const scatter_part& part, owned_layer& layer, scattering& job);

  // settle.cpp
  void take_orders(const settle_work& w, settling& s);
  void summarise(const settle_work& w, const std::shared_ptr<settling>& s);
  void take_facts(settling& s);
  void encode(std::shared_ptr<settling> s);
  void move(std::shared_ptr<settling> s);
  void finish_settle(const std::shared_ptr<settling>& s);
  void adopt_local(const page_record_ref& page, gpu::block data, gpu::block summary);
  bool leave_window(sequence_id sequence, std::uint32_t layer, std::uint32_t page);
  void drop_settled(owned_layer& layer, std::uint32_t position);
  void enter_ring(const ring_slot& slot, shard_id shard);
  std::uint64_t evict_page(const ring_slot& slot, evict_reason reason);

  // migrate.cpp
  void send_away(const std::shared_ptr<migrating>& m);
  void leave(const migrating& m);

  // attend.cpp
  result<std::shared_ptr<attending>> prepare_attend(const attend_work& w);
  result<void> take_tables(const attend_work& w, attending& job);
  result<void> take_scratch(const attend_work& w, attending& job);
  result<gpu::block> partial_memory(device_id merges, std::size_t bytes);

  // share.cpp
  result<std::shared_ptr<sharing>> prepare_share(const share_work& w);

  // survey.cpp
  result<std::shared_ptr<surveying>> prepare_survey(const survey_work& w);
  result<void> add_summaries(owned_layer& layer, missing_summaries& missing);
  result<gpu::block> scratch(std::size_t bytes) {
    return device().device->scratch().allocate(bytes);
  }

  // sequences.cpp
  void count_page(const gpu::page_view& view, int direction) noexcept;
  void count_sequence(const owned_sequence& s, int direction) noexcept;
  std::uint64_t pages_held_alone(const owned_sequence& s) const;

  owned_sequence* find(sequence_id x);
  owned_sequence& find_or_make(sequence_id x);
  device_entry& device() { return context_->devices[device_.value]; }
  const gpu::cache_dims& dims() const noexcept { return context_->dims; }

  pointer self_ = nullptr;
  context_ptr context_;
  device_id device_{};
  std::uint64_t incarnation_ = 0; ///< as the directory counts this owner
  page_geometry geometry_;
  gpu::page_layout raw_layout_;
  std::unordered_map<sequence_id, owned_sequence> sequences_;
  std::unordered_map<ticket_id, held_request> held_;
  std::vector<std::deque<ring_slot>> rings_;  ///< by shard, oldest first
  std::deque<std::function<void()>> waiting_; ///< behind an append that waits for memory
  bool reclaiming_ = false;
  std::optional<monitoring::owner_probe> probe_;
  std::optional<monitoring::actor_probe> actor_probe_;
  std::uint64_t pages_evicted_ = 0;
  std::vector<std::uint64_t> shard_pages_; ///< settled pages by shard
  std::uint64_t summary_bytes_ = 0;        ///< forks count shared summaries again
  std::chrono::nanoseconds busy_[3]{};     ///< compute, codec, copy as of the last tick
  job_list jobs_; // last: its destructor fails what is pending while the rest is still there
};

} // namespace pikv
