// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/input_checks.hpp>

#include <algorithm>
#include <limits>
#include <unordered_set>

#include <fmt/format.h>

#include <pikv/actors/context.hpp>

namespace pikv {

namespace {

constexpr std::uint64_t max_position = std::numeric_limits<std::int32_t>::max();

/// Elements from the first to one past the last, or 0 on overflow.
std::uint64_t extent(std::uint64_t rows, std::uint64_t heads, std::uint64_t dim,
                     std::uint64_t row_stride, std::uint64_t head_stride) {
  std::uint64_t r = 0, h = 0, sum = 0;
  if (__builtin_mul_overflow(rows - 1, row_stride, &r)
      || __builtin_mul_overflow(heads - 1, head_stride, &h) || __builtin_add_overflow(r, h, &sum)
      || __builtin_add_overflow(sum, dim, &sum))
    return 0;
  return sum;
}

} // namespace

result<gpu::tensor_ref> check_tensor(const char* what, const const_tensor& x, std::uint32_t rows,
                                     std::uint32_t heads, std::uint32_t dim) {
  if (x.data == nullptr)
    return {errc::null_buffer, fmt::format("{}: the buffer is null", what)};
  if (x.type > dtype::bf16)
    return {errc::dtype_mismatch,
            fmt::format("{}: element type {} is unknown; use f32, f16 or bf16", what,
                        static_cast<int>(x.type))};
  if (x.order > layout::hnd)
    return {errc::shape_mismatch, fmt::format("{}: unknown layout; use nhd or hnd", what)};
  if (x.rows != rows || x.heads != heads || x.dim != dim)
    return {errc::shape_mismatch,
            fmt::format("{}: the shape is [{}, {}, {}] (rows, heads, dim); expected [{}, {}, {}]",
                        what, x.rows, x.heads, x.dim, rows, heads, dim)};
  const std::uint64_t d = dim;
  const bool nhd = x.order == layout::nhd;
  const auto row_stride = x.row_stride != 0 ? x.row_stride : nhd ? heads * d : d;
  const auto head_stride = x.head_stride != 0 ? x.head_stride : nhd ? d : rows * d;
  // One axis is the inner one: its whole run lies between two steps of the other.
  const auto inner = std::min(head_stride, row_stride);
  const auto outer = std::max(head_stride, row_stride);
  const auto steps = row_stride >= head_stride ? heads : rows;
  if (inner < d || (rows > 1 && heads > 1 && (outer - d) / inner + 1 < steps))
    return {errc::shape_mismatch,
            fmt::format("{}: strides of {} and {} elements make rows of {} overlap", what,
                        row_stride, head_stride, dim)};
  const auto elements = extent(rows, heads, dim, row_stride, head_stride);
  if (elements == 0 || x.bytes / size_of(x.type) < elements)
    return {errc::shape_mismatch,
            fmt::format("{}: {} bytes are too few for [{}, {}, {}] of {} with strides {} and {}",
                        what, x.bytes, rows, heads, dim, to_string(x.type), row_stride,
                        head_stride)};
  if (reinterpret_cast<std::uintptr_t>(x.data) % size_of(x.type) != 0)
    return {errc::invalid_argument,
            fmt::format("{}: the buffer is not aligned to its elements of {} bytes", what,
                        size_of(x.type))};
  // Kernels only write tensors that came in as `tensor`.
  auto* data = const_cast<std::byte*>(static_cast<const std::byte*>(x.data));
  return gpu::tensor_ref{data, x.type, row_stride, head_stride};
}

result<void> check_reach(const cache_context& context, std::initializer_list<const void*> buffers) {
  if (context.movers.all_reach())
    return {};
  for (const void* p : buffers)
    for (const auto& x : context.devices)
      if (p != nullptr && !x.device->reaches(p))
        return {
            errc::unsupported,
            fmt::format("a buffer lies on a GPU whose memory GPU {} does not reach; hand in host "
                        "memory",
                        x.device->gpu())};
  return {};
}

result<std::vector<work_part>> check_parts(const model_shape& shape, std::uint32_t layer,
                                           std::span<const batch_part> parts) {
  if (layer >= shape.layers)
    return {errc::out_of_range,
            fmt::format("layer {} does not exist; the model has {}", layer, shape.layers)};
  if (parts.empty())
    return {errc::invalid_argument, "the batch is empty; name at least one sequence"};
  std::vector<work_part> out;
  std::unordered_set<std::uint64_t> seen;
  std::uint64_t row = 0;
  for (const auto& p : parts) {
    if (p.tokens == 0)
      return {errc::invalid_argument,
              fmt::format("sequence {}: a part needs at least one token", p.sequence.value)};
    if (std::uint64_t{p.position} + p.tokens > max_position || row + p.tokens > max_position)
      return {errc::out_of_range, fmt::format("sequence {}: position {} + {} tokens is too large",
                                              p.sequence.value, p.position, p.tokens)};
    if (!seen.insert(p.sequence.value).second)
      return {errc::invalid_argument,
              fmt::format("sequence {} appears twice in the batch", p.sequence.value)};
    out.push_back({p.sequence, p.position, p.tokens, static_cast<std::uint32_t>(row)});
    row += p.tokens;
  }
  return out;
}

std::uint32_t rows_of(std::span<const work_part> parts) noexcept {
  return parts.empty() ? 0 : parts.back().row_begin + parts.back().tokens;
}

result<void> check_shape(const model_shape& s) {
  auto refuse = [](std::string what) { return error{errc::unsupported, std::move(what)}; };
  if (s.layers == 0 || s.layers > 4096)
    return refuse(fmt::format("layers: {} is out of range; allowed: 1 to 4096", s.layers));
  if (s.kv_heads == 0 || s.query_heads == 0 || s.query_heads % s.kv_heads != 0)
    return refuse(
        fmt::format("{} query heads do not divide into {} KV heads", s.query_heads, s.kv_heads));
  if (s.query_heads > 1024)
    return refuse(
        fmt::format("query_heads: {} is out of range; allowed: 1 to 1024", s.query_heads));
  if (s.head_dim == 0 || s.head_dim % 32 != 0 || s.head_dim > 256)
    return refuse(
        fmt::format("head_dim: {} is not supported; use a multiple of 32 up to 256", s.head_dim));
  if (s.experts > 65535)
    return refuse(fmt::format("experts: {} is out of range; allowed: 0 to 65535", s.experts));
  return {};
}

} // namespace pikv
