// SPDX-License-Identifier: Apache-2.0
/// \file
/// How much of a row's softmax mass lies in what it reads in any case: sinks, window and settled
/// pages that are not old. Measured by an attention over just those, which coverage targets need:
/// an estimate would not do, for most of the mass lies there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pikv/actors/context.hpp>
#include <pikv/actors/page_table.hpp>
#include <pikv/actors/shard_owner/geometry.hpp>

namespace pikv {

class always_read {
public:
  /// Takes scratch memory of the device for `batch_rows` rows. On the owner's thread. `rows` are
  /// those of this device's parts and stay valid until `run` has ended. Errors: over_budget.
  result<void> prepare(gpu::arena& scratch, const gpu::cache_dims& dims, std::uint32_t batch_rows,
                       std::span<const gpu::sequence_rows> rows, const page_geometry& geometry);

  /// On the stream's thread.
  void run(const gpu::kernel_table& kernels, const gpu::cache_dims& dims, float scale,
           const gpu::tensor_ref& q, std::span<const gpu::sequence_rows> rows, gpu::executor& x);

  /// f32 `[batch_rows, query heads]`: log of the sum of exp(logit); -inf where this device has
  /// nothing of the kind. To be read when the stream has passed `run`. Empty before `prepare`.
  const gpu::block& lse() const noexcept { return lse_; }

private:
  std::uint32_t batch_rows_ = 0;
  gpu::block lists_; ///< as attend_work::selection: nothing but what is always read
  gpu::block out_;
  gpu::block lse_;
};

} // namespace pikv
