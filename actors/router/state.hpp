// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a router knows and does. Requests of a lane are taken in order; one that needs a
/// (sequence, layer) whose last settle has not ended waits, and all behind it wait too. append.cpp,
/// attend.cpp and sequences.cpp have one flow each; a flow is an object that its continuations
/// share and that ends its request exactly once.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <caf/typed_event_based_actor.hpp>

#include <pikv/actors/context.hpp>
#include <pikv/actors/jobs.hpp>
#include <pikv/actors/router/lane_sequences.hpp>
#include <pikv/actors/router/shard_statistics.hpp>
#include <pikv/actors/choice/plan.hpp>
#include <pikv/messages/caf_error.hpp>
#include <pikv/policies/fidelity/controller.hpp>

namespace pikv {

class router_state {
public:
  using pointer = router_actor::stateful_pointer<router_state>;

  router_state() = default; // user-declared: CAF must not initialise members from `self`
  ~router_state();          // ends the requests in flight: errc::actor_down
  static inline const char* name = "router";

  void start(pointer self, context_ptr context, lane_id lane, std::uint64_t first_sequence);
  void enqueue(client_request r);
  void finish(const stream_done& x) { jobs_.finish(x); }
  void decided(ticket_id ticket); ///< the verdict on an append over several lanes
  void tick();

private:
  struct append_flow;
  struct attend_flow;
  struct owner_work; ///< of an attend
  struct audit_flow;
  using flow_ptr = std::shared_ptr<attend_flow>;

  // router_actor.cpp
  void pump();
  bool fenced(const client_request& r);
  void dispatch(const client_request& r, const std::shared_ptr<request>& q);
  void notice_restarts();
  std::uint64_t lost_entries(const layer_record& layer, const work_part& part) const;
  void end(const client_request& r, result<request_outcome> x) { try_end(r, std::move(x)); }
  bool try_end(const client_request& r, result<request_outcome> x); ///< false: it had ended before
  result<sequence_record*> usable(sequence_id x, bool allow_broken = false);
  void fence(sequence_id x, std::uint32_t layer, int change);
  caf::duration time_left(const request& q) const;
  /// Remembers that a flow waits for owners; `give_up` hears of it on the first tick after the
  /// deadline of its request, if the flow still waits then.
  template <class Flow>
  void watch(const request& q, const std::shared_ptr<Flow>& f,
             void (router_state::*give_up)(const std::shared_ptr<Flow>&)) {
    while (!owed_.empty() && owed_.front().flow.expired())
      owed_.pop_front();
    owed_.push_back({q.deadline, f, [this, weak = std::weak_ptr{f}, give_up] {
                       if (auto flow = weak.lock())
                         (this->*give_up)(flow);
                     }});
  }
  /// Not the directory's: work for an owner whose death was not noticed yet must fail, not reach an
  /// owner that knows nothing.
  shard_owner_actor owner(device_id d) const { return owners_[d.value].handle; }

  // append.cpp
  void append(const client_request& r, std::shared_ptr<request> q);
  result<void> check_append(const client_request& r);
  void lift_in_order(const std::shared_ptr<append_flow>& f);
  void appended(const std::shared_ptr<append_flow>& f);
  void conclude(const std::shared_ptr<append_flow>& f, const error& why);
  void give_up_append(const std::shared_ptr<append_flow>& f);
  void roll_back(const append_flow& f);
  void annotate(const client_request& r, const std::shared_ptr<request>& q);

  // settle.cpp
  struct settle_flow;
  void settle(const append_flow& f);
  void describe(std::shared_ptr<settle_flow> f, device_id home);
  void order(const settle_flow& f, device_id home);
  settle_order place(const settle_flow& f, sequence_id id, std::uint32_t page,
                     std::span<const float> mean_key);
  void settled(const settle_work& asked, const settle_done& done);
  void tell_scheduler(std::uint32_t layer, std::uint64_t version,
                      const std::vector<settle_order>& pages, bool wait);

  // scatter.cpp
  bool places_entries() const noexcept;
  void scatter(const append_flow& f);
  void read_keys(std::shared_ptr<settle_flow> f, device_id home);
  void send_entries(std::shared_ptr<settle_flow> f, device_id home);
  std::vector<std::uint16_t> assign(const settle_flow& f, sequence_id id, std::uint32_t page,
                                    const std::byte* raw);
  void scattered(const settle_flow& f, device_id home, const scatter_done& done);

  // attend.cpp, choose.cpp, merge.cpp
  void attend(const client_request& r, std::shared_ptr<request> q);
  result<void> check_attend(const client_request& r, const request& q);
  result<void> take_gates(attend_flow& f);
  shard_facts known_of_shards(const policy_set& p);
  bool owner_can_choose(const attend_flow& f) const;
  static constexpr std::uint64_t most_score_bytes = std::uint64_t{64} << 20; ///< of one attend
  std::uint64_t scores_bytes(const attend_flow& f) const;
  void survey(const flow_ptr& f);
  void plan(const flow_ptr& f);
  void read(const flow_ptr& f);
  void read_one(const flow_ptr& f, std::size_t owner_index);
  void take_answer(const flow_ptr& f, std::size_t owner_index, const attend_done& done);
  void go_on(const flow_ptr& f);
  struct merge_run;
  static std::vector<merge_run> merge_runs(const attend_flow& f);
  static void add_masses(attend_flow& f, const float* lse, const gpu::cache_dims& dims,
                         const gpu::kernel_table& kernels, gpu::executor& x);
  void merge(const flow_ptr& f);
  void complete(const flow_ptr& f);
  void fail(const flow_ptr& f, const error& e);
  void give_up_attend(const flow_ptr& f);
  void release(const attend_flow& f);
  void count_attend(const attend_flow& f, int change);
  void report_use(attend_flow& f);

  /// Where the lane's stream is.
  device_id merging_device() const noexcept {
    return {static_cast<std::uint32_t>(lane_.value % context_->devices.size())};
  }

  // gather.cpp
  bool can_order(const attend_flow& f) const;
  void take_turn(attend_flow& f);
  void end_turn(attend_flow& f);
  void place_pages(attend_flow& f) const;
  bool take_areas(attend_flow& f, std::size_t bytes) const;
  bool prepare_gather(attend_flow& f) const;
  void gather(const flow_ptr& f);
  void merge_in_order(const flow_ptr& f);
  bool take_partial(owner_work& x, const buffer_ref& out, const buffer_ref& lse) const;

  // rebalance.cpp
  void rebalance();
  struct migration;
  std::vector<migration> find_migrations();
  void migrate(const migration& m);
  void migrated(const migration& m, const settle_done& done);

  // audit.cpp
  void sample_audit(attend_flow& f);
  void copy_for_audit(const flow_ptr& f, request_outcome out);
  result<std::shared_ptr<audit_flow>> make_audit(const attend_flow& f);
  void begin_audit();
  void audit(std::shared_ptr<audit_flow> a);
  void compare_audit(const std::shared_ptr<audit_flow>& a);
  void learn(const audit_flow& a);

  // sequences.cpp
  void open(const client_request& r);
  void fork(const client_request& r, const std::shared_ptr<request>& q);
  void change(const client_request& r, const std::shared_ptr<request>& q, sequence_verb verb);
  void tell_owners(const request& q, const sequence_work& w,
                   std::function<void(const error&)> done);
  void usage(const client_request& r, const std::shared_ptr<request>& q);

  pointer self_ = nullptr;
  context_ptr context_;
  lane_id lane_{};
  std::uint64_t first_sequence_ = 0; ///< older ones died with an earlier router of this lane
  page_geometry geometry_;
  lane_sequences sequences_;
  shard_statistics shards_;
  std::uint64_t settled_version_ = 0; ///< of the shard map that this lane's pages follow
  std::deque<client_request> queue_;
  std::uint32_t turns_ = 0; ///< attends of streams whose work is not all enqueued yet
  /// Requests to owners on the token path go without a timer of CAF's: each would wake its clock
  /// thread, which costs more than the rest of the way. One look per tick does.
  struct owed_flow {
    request::clock::time_point deadline;
    std::weak_ptr<void> flow;
    std::function<void()> give_up;
  };
  std::deque<owed_flow> owed_;
  std::unordered_map<ticket_id, std::shared_ptr<append_flow>> voted_; ///< await their verdict
  std::vector<directory<shard_owner_actor>::entry> owners_;           ///< as last noticed
  std::uint64_t sampled_ = 0; ///< attends that were asked whether they are audited
  /// Audits wait until the lane has nothing else to do, or for a tick.
  std::deque<std::shared_ptr<audit_flow>> waiting_audits_;
  policies::fidelity_controller fidelity_;
  std::uint64_t fidelity_version_ = 0; ///< of the configuration that it aims by
  std::unordered_map<ticket_id, std::function<void()>> audits_; ///< what follows an audit's attend
  std::optional<monitoring::router_probe> probe_;
  std::optional<monitoring::actor_probe> actor_probe_;
  job_list jobs_;
};

} // namespace pikv
