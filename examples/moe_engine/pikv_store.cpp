// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/pikv_store.hpp>

#include <utility>

namespace pikv::moe_engine {

namespace {

/// Waits for all of them, so that no buffer is borrowed any more, and keeps the first error.
template <class T>
void drain(std::vector<completion<T>>& pending, std::optional<error>& first) {
  for (const auto& x : pending)
    if (const auto& outcome = x.wait(); !outcome && !first)
      first = outcome.error();
  pending.clear();
}

} // namespace

pikv_store::pikv_store(cache x, pikv_store_options options)
    : cache_(std::move(x)), options_(options) {}

pikv_store::~pikv_store() {
  if (auto ended = finish(); !ended) {
    // Whoever used the store has had the chance to ask; here only the waiting matters.
  }
}

result<sequence_id> pikv_store::open() { return cache_.open(); }

result<void> pikv_store::close(sequence_id x) { return cache_.close(x).wait(); }

result<void> pikv_store::append(std::uint32_t layer, std::span<const batch_part> parts,
                                std::span<const float> k, std::span<const float> v) {
  const auto& shape = cache_.shape();
  const auto rows = rows_of(parts);
  // Not waited for: PiKV keeps the order of one thread's calls, so the attend that follows sees
  // these entries. An error shows when the attend is over.
  appends_.push_back(cache_.append(layer, parts, nhd(k, rows, shape.kv_heads, shape.head_dim),
                                   nhd(v, rows, shape.kv_heads, shape.head_dim)));
  return {};
}

result<void> pikv_store::annotate(std::uint32_t layer, std::span<const batch_part> parts,
                                  std::span<const float> gate_logits) {
  // Not waited for either: the labels are needed when these tokens leave the window, much later.
  annotates_.push_back(cache_.annotate(layer, parts, gate_logits));
  return {};
}

result<entry_account> pikv_store::attend(std::uint32_t layer, std::span<const batch_part> parts,
                                         std::span<const float> q, std::span<float> out,
                                         std::span<float> lse) {
  const auto& shape = cache_.shape();
  const auto rows = rows_of(parts);
  attend_options options;
  options.deadline = options_.deadline;
  options.exact = options_.exact;
  options.lse = lse;
  const auto attending =
      cache_.attend(layer, parts, nhd(q, rows, shape.query_heads, shape.head_dim),
                    nhd(out, rows, shape.query_heads, shape.head_dim), options);
  const auto& report = attending.wait();
  // What was sent before it has ended by now, or is about to. Its error is the cause of the
  // attend's, so it comes first.
  if (auto before = finish(); !before)
    return before.error();
  if (!report)
    return report.error();
  return report->entries;
}

result<void> pikv_store::finish() {
  std::optional<error> first;
  drain(appends_, first);
  drain(annotates_, first);
  if (first)
    return *first;
  return {};
}

result<std::uint64_t> pikv_store::bytes() {
  const auto asked = cache_.usage();
  const auto& usage = asked.wait();
  if (!usage)
    return usage.error();
  return usage->total_bytes();
}

} // namespace pikv::moe_engine
