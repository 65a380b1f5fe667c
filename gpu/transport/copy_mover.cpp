// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/transport/copy_mover.hpp>

#include <algorithm>
#include <future>

namespace pikv::gpu::transport {

namespace {

std::vector<std::uint64_t> checksums(const std::vector<block>& blocks, const kernel_table& kernels,
                                     executor& e) {
  const auto runs = runs_of(blocks);
  std::vector<std::uint64_t> out(runs.size());
  kernels.checksum({runs, out}, e);
  return out;
}

std::span<const std::uint64_t> words_of(const block& x) {
  return {reinterpret_cast<const std::uint64_t*>(x.data()), x.bytes() / sizeof(std::uint64_t)};
}

} // namespace

/// Made by the source's GPU while the target's copies; in scratch memory, which the kernel writes
/// and the host reads.
struct copy_mover::sums_of_source {
  block words;
  std::promise<result<void>> done;
};

result<std::shared_ptr<copy_mover>> copy_mover::make(std::vector<end_point> ends) {
  std::shared_ptr<copy_mover> x{new copy_mover(std::move(ends))};
  const auto first = x->ends_.empty() ? -1 : x->ends_.front().where->gpu();
  const bool several = std::ranges::any_of(
      x->ends_, [first](const end_point& e) { return e.where->gpu() != first; });
  for (const auto& e : x->ends_) {
    if (!several)
      break;
    for (auto* list : {&x->hashes_, &x->second_}) {
      list->push_back(e.where->make_stream(stream_role::copy));
      if (!list->back())
        return error{errc::io_failed, "the system gives no more threads; lower devices.count"};
    }
  }
  return x;
}

stream& copy_mover::stream_to(device_id target) noexcept {
  const bool second = !second_.empty() && turn_.fetch_add(1, std::memory_order_relaxed) % 2 == 1;
  return second ? *second_[target.value] : *ends_[target.value].copies;
}

void copy_mover::synchronize() const {
  for (const auto& x : second_)
    x->synchronize();
}

std::shared_ptr<copy_mover::sums_of_source> copy_mover::hash_at_source(const page_move& x) {
  if (hashes_.empty() || ends_[x.source.value].where->gpu() == ends_[x.target.value].where->gpu())
    return nullptr;
  auto& source = *ends_[x.source.value].where;
  auto words = source.scratch().allocate(x.from.size() * sizeof(std::uint64_t));
  if (!words)
    return nullptr; // the target hashes it, over the bus
  auto sums = std::make_shared<sums_of_source>();
  sums->words = std::move(*words);
  hashes_[x.source.value]->enqueue(
      [sums, blocks = x.from, &kernels = source.kernels()](executor& e) {
        const auto runs = runs_of(blocks);
        kernels.checksum({runs, {reinterpret_cast<std::uint64_t*>(sums->words.data()), runs.size()}},
                         e);
      },
      [sums](const result<void>& r) { sums->done.set_value(r); }, "hash");
  return sums;
}

result<void> copy_mover::move(const page_move& x, executor& e) {
  if (auto r = check_deadline(x); !r)
    return r;
  const auto& kernels = ends_[x.target.value].where->kernels();
  std::vector<copy_item> items;
  for (std::size_t i = 0; i < x.from.size(); ++i)
    items.push_back({x.from[i].data(), x.to[i].data(), x.from[i].bytes()});
  const auto at_source = hash_at_source(x);
  const auto sent = at_source ? std::vector<std::uint64_t>{} : checksums(x.from, kernels, e);
  kernels.copy(items, e);
  const auto arrived = checksums(x.to, kernels, e);
  if (!at_source)
    return compare_checksums(x, sent, arrived);
  auto done = at_source->done.get_future();
  if (done.wait_until(x.deadline) != std::future_status::ready)
    return check_deadline(x);
  if (auto r = done.get(); !r)
    return r;
  return compare_checksums(x, words_of(at_source->words), arrived);
}

} // namespace pikv::gpu::transport
