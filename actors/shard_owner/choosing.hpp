// SPDX-License-Identifier: Apache-2.0
/// \file
/// The choice of pages that an owner makes in the same task as the attention, so that nothing
/// travels between q and the output. By the device's own kernel where it has one and the policies
/// can be said as rules (messages/choice.hpp): among its own pages where those are all, else among
/// all that the owners have shared (share.cpp). Without such a kernel from scores by the policies
/// themselves (actors/choice/plan.hpp), where all pages are its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pikv/actors/choice/plan.hpp>
#include <pikv/actors/page_table.hpp>
#include <pikv/actors/shard_owner/accounts.hpp>
#include <pikv/actors/shard_owner/always_read.hpp>

namespace pikv {

/// Whether `choosing` can serve a device with these kernels.
bool can_choose(const gpu::kernel_table& kernels, const gpu::cache_dims& dims,
                const policy_set& policies) noexcept;

class choosing {
public:
  choosing(context_ptr context, device_id device, std::shared_ptr<const policy_set> policies,
           const page_geometry& geometry, const attend_work& work);

  /// Takes the memory that it needs; `gates`: attend_work::gates. On the owner's thread.
  result<void> prepare(const std::vector<table_lease>& settled,
                       std::span<const gpu::sequence_rows> rows, const buffer_ref& gates);

  /// Chooses for `rows` and counts what that leaves out. On the stream's thread, `selection` is for
  /// kernels of the same task.
  result<void> run(const request_buffers& buffers, std::span<const gpu::sequence_rows> rows,
                   const std::vector<table_lease>& settled, gpu::page_selection& selection,
                   gpu::executor& x);

  /// True where `account` says what was read; else it can be counted from the lists at once.
  bool counts_later() const noexcept { return on_device(); }
  /// Adds the counts to the reply, once the device has done the task. On the owner's thread.
  void account(const std::vector<table_lease>& settled, attend_done& reply);

private:
  bool on_device() const noexcept { return kernels_.choose != nullptr; }
  result<void> prepare_host(const std::vector<table_lease>& settled,
                            std::span<const gpu::sequence_rows> rows);
  result<void> choose_on_host(const request_buffers& buffers,
                              std::span<const gpu::sequence_rows> rows,
                              gpu::page_selection& selection, gpu::executor& x);
  void choose_on_device(const request_buffers& buffers, std::span<const gpu::sequence_rows> rows,
                        gpu::page_selection& selection, gpu::executor& x);
  void account_device(const std::vector<table_lease>& settled, attend_done& reply) const;
  std::vector<std::uint32_t> count_reads(const work_part& part, const page_table& table) const;

  result<void> prepare_gathered();

  plan_input in_; ///< owner 0 is this device
  plan_output plan_;
  always_read always_;
  const gpu::kernel_table& kernels_;
  gpu::arena& scratch_;
  std::vector<std::uint64_t> offsets_; ///< of the scores of each part
  gpu::block totals_, lists_;          ///< of a choice on the device
  gathering gather_;                   ///< empty: all pages are this device's
  gpu::block area_;
  std::uint32_t scopes_ = 1;
  std::uint32_t capacity_ = 0;
  std::vector<row_tokens> rows_; ///< of each row, part by part
};

/// The three arrays of attend_work::selection.
gpu::page_selection parse_selection(std::uint32_t rows, std::uint32_t scopes, const gpu::block& b);

} // namespace pikv
