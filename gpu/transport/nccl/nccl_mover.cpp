// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/nccl/nccl_mover.hpp>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include <pikv/gpu/transport/nccl/device_guard.hpp>

namespace pikv::gpu::transport {

namespace {

using namespace std::chrono_literals;

/// Exchanges of one call: a call costs 60 us and more, but has to find room in NCCL's queues.
constexpr std::size_t exchanges_a_call = 256;

/// At least this long may a rebuild take: where moves have less time, it would never be done.
constexpr auto rebuild_limit = 10s;

std::span<const std::uint64_t> words_of(const block& x) {
  return {reinterpret_cast<const std::uint64_t*>(x.data()), x.bytes() / sizeof(std::uint64_t)};
}

} // namespace

/// A move and all that its kernels use.
struct nccl_mover::in_flight {
  page_move pages;
  block sent, arrived; ///< checksums, in host memory that the GPUs write
  std::vector<cuda::launch_queue::leftover> tasks;
};

result<std::shared_ptr<nccl_mover>> nccl_mover::make(std::vector<end_point> ends) {
  const device_guard guard;
  std::set<int> distinct;
  for (const auto& x : ends)
    distinct.insert(x.where->gpu());
  std::vector<int> gpus(distinct.begin(), distinct.end());
  auto group = nccl_group::make(gpus);
  if (!group)
    return group.error();
  queue_list queues;
  for (const int gpu : gpus) {
    auto queue = cuda::launch_queue::make(gpu, stream_role::copy);
    if (!queue)
      return queue.error();
    queues.push_back(std::move(*queue));
  }
  try {
    return std::shared_ptr<nccl_mover>{
        new nccl_mover(std::move(ends), std::move(gpus), std::move(queues), std::move(*group))};
  } catch (const std::system_error&) {
    return error{errc::io_failed, "the system gives no thread for moves through NCCL"};
  }
}

nccl_mover::nccl_mover(std::vector<end_point> ends, std::vector<int> gpus, queue_list queues,
                       std::unique_ptr<nccl_group> group)
    : ends_(std::move(ends)), gpus_(std::move(gpus)), queues_(std::move(queues)),
      group_(std::move(group)), thread_(queues_.front(), {.name = "pikv.nccl", .fault = {}}) {
  for (const auto& x : queues_)
    streams_.push_back(x->stream());
}

nccl_mover::~nccl_mover() = default;

std::size_t nccl_mover::rank_of(device_id x) const noexcept {
  const auto at = std::ranges::lower_bound(gpus_, ends_[x.value].where->gpu());
  return static_cast<std::size_t>(at - gpus_.begin());
}

result<void> nccl_mover::move(const page_move& x, executor&) {
  if (auto r = check_deadline(x); !r)
    return r;
  if (!group_->usable())
    if (auto r = recover(x); !r)
      return r;
  in_flight f{x, {}, {}, {}};
  f.tasks.reserve(2); // nothing may throw once kernels are on their way
  auto enqueued = enqueue(f);
  return finish(f, std::move(enqueued));
}

/// Builds the group anew after an abort. What aborted moves left goes once their streams are idle.
result<void> nccl_mover::recover(const page_move& x) {
  const auto limit = std::max(x.deadline, in(rebuild_limit));
  if (auto r = group_->reinit(limit); !r)
    return r;
  if (auto r = group_->wait(streams_, limit); !r)
    return r;
  left_.clear();
  return check_deadline(x);
}

result<void> nccl_mover::enqueue(in_flight& f) {
  const auto& x = f.pages;
  if (auto r = hash(x.source, x.from, f.sent); !r)
    return r;
  if (auto r = exchange_pages(x); !r)
    return r;
  return hash(x.target, x.to, f.arrived);
}

/// Enqueues the checksums of blocks of one device, by its own GPU.
result<void> nccl_mover::hash(device_id where, const std::vector<block>& blocks, block& sums) {
  auto& device = *ends_[where.value].where;
  const auto runs = runs_of(blocks);
  // In memory that the GPU writes itself, for the kernel's launch to wait for nothing.
  auto memory = device.scratch().allocate(runs.size() * sizeof(std::uint64_t));
  if (!memory)
    return memory.error();
  sums = std::move(*memory);
  auto* out = reinterpret_cast<std::uint64_t*>(sums.data());
  device.kernels().checksum({runs, {out, runs.size()}}, *queues_[rank_of(where)]);
  return {};
}

result<void> nccl_mover::exchange_pages(const page_move& x) {
  const auto from = static_cast<int>(rank_of(x.source)), to = static_cast<int>(rank_of(x.target));
  std::vector<exchange> list;
  for (std::size_t i = 0; i < x.from.size(); ++i)
    list.push_back({from, to, x.from[i].data(), x.to[i].data(), x.from[i].bytes()});
  for (std::span<const exchange> rest{list}; !rest.empty();) {
    const auto now = rest.first(std::min(rest.size(), exchanges_a_call));
    if (auto r = group_->exchange_all(now, streams_, x.deadline); !r)
      return r;
    rest = rest.subspan(now.size());
  }
  return {};
}

/// Waits for what was enqueued, also after an error: it reads and writes the pages.
result<void> nccl_mover::finish(in_flight& f, result<void> enqueued) {
  std::set<std::size_t> ranks{rank_of(f.pages.source), rank_of(f.pages.target)};
  for (const auto rank : ranks) {
    queues_[rank]->begin();
    f.tasks.push_back(queues_[rank]->close());
  }
  auto outcome = std::move(enqueued);
  if (auto waited = group_->wait(streams_, f.pages.deadline); outcome && !waited)
    outcome = waited;
  for (const auto& task : f.tasks)
    if (outcome && task.failed.code != errc::ok)
      outcome = task.failed;
  if (outcome)
    outcome = compare_checksums(f.pages, words_of(f.sent), words_of(f.arrived));
  if (!group_->usable())
    left_.push_back(std::move(f));
  return outcome;
}

} // namespace pikv::gpu::transport
