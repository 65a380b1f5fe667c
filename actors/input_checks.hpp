// SPDX-License-Identifier: Apache-2.0
/// \file
/// Checks of what an engine hands in, with errors that say what to change.
#pragma once

#include <initializer_list>
#include <span>

#include <pikv/actors/cache.hpp>
#include <pikv/actors/request_table.hpp>

namespace pikv {

struct cache_context;

/// Shape, strides, size, element type and pointer of a buffer `[rows, heads, dim]`, resolved to
/// what kernels take. `what` names it in errors ("k", "out").
result<gpu::tensor_ref> check_tensor(const char* what, const const_tensor& x, std::uint32_t rows,
                                     std::uint32_t heads, std::uint32_t dim);

/// Sequences with rows assigned in the order of the parts; refuses empty batches, empty parts,
/// repeated sequences, layers that do not exist and positions beyond 2^31.
result<std::vector<work_part>> check_parts(const model_shape& shape, std::uint32_t layer,
                                           std::span<const batch_part> parts);

/// Rows that the parts name.
std::uint32_t rows_of(std::span<const work_part> parts) noexcept;

/// errc::unsupported for memory of a GPU that another GPU of the cache does not reach; any of them
/// may have to read or write what a client hands in. Null is fine.
result<void> check_reach(const cache_context& context, std::initializer_list<const void*> buffers);

/// A model that PiKV can keep.
result<void> check_shape(const model_shape& shape);

} // namespace pikv
