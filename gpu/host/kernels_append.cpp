// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::gpu::detail {
namespace {

constexpr std::size_t targets_per_part = 64; // a few pages: worth handing to a thread
constexpr std::size_t max_run = 64;          // slots of the largest page

float to_f32(const std::byte* p, dtype type) noexcept {
  if (type == dtype::f32) {
    float x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  std::uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return type == dtype::f16 ? f32_from_f16(h) : f32_from_bf16(h);
}

void from_f32(float x, form stored, std::byte* p) noexcept {
  if (stored == form::f32) {
    std::memcpy(p, &x, sizeof x);
    return;
  }
  const std::uint16_t h = stored == form::f16 ? f16_from_f32(x) : bf16_from_f32(x);
  std::memcpy(p, &h, sizeof h);
}

/// `dim` elements of one row and head, converted to the page's element type.
void convert_row(const tensor_ref& in, std::size_t row, std::size_t head, std::size_t dim,
                 form stored, std::byte* out) noexcept {
  const std::size_t from = size_of(in.type);
  const std::byte* p = in.data + (row * in.row_stride + head * in.head_stride) * from;
  if (raw_form(in.type) == stored) {
    std::memcpy(out, p, dim * from);
    return;
  }
  const std::size_t to = stored == form::f32 ? 4 : 2;
  for (std::size_t i = 0; i < dim; ++i)
    from_f32(to_f32(p + i * from, in.type), stored, out + i * to);
}

/// Columns `slot ... slot + n` of K `[head_dim, page_tokens]` from rows `[n, head_dim]`.
template <class T>
void scatter_columns(const std::byte* rows, std::size_t n, std::size_t dim, std::size_t page_tokens,
                     std::size_t slot, std::byte* k) noexcept {
  const T* in = reinterpret_cast<const T*>(rows);
  T* out = reinterpret_cast<T*>(k) + slot;
  for (std::size_t c = 0; c < dim; ++c)
    for (std::size_t t = 0; t < n; ++t)
      out[c * page_tokens + t] = in[t * dim + c];
}

/// Appends n tokens to consecutive slots of one page.
void append_run(const append_args& a, const page_layout& lay, std::size_t first,
                std::size_t n) noexcept {
  alignas(64) std::byte rows[max_run * 256 * sizeof(float)];
  const append_target& begin = a.targets[first];
  const std::size_t dim = a.dims.head_dim;
  const std::size_t row_bytes = dim * (a.stored == form::f32 ? 4 : 2);
  for (std::size_t h = 0; h < a.dims.kv_heads; ++h) {
    std::byte* head = begin.page + h * lay.head_bytes;
    for (std::size_t t = 0; t < n; ++t) {
      const append_target& x = a.targets[first + t];
      convert_row(a.k, x.row, h, dim, a.stored, rows + t * row_bytes);
      convert_row(a.v, x.row, h, dim, a.stored, head + lay.v_offset + x.slot * row_bytes);
    }
    std::byte* k = head + lay.k_offset;
    if (a.stored == form::f32)
      scatter_columns<std::uint32_t>(rows, n, dim, a.dims.page_tokens, begin.slot, k);
    else
      scatter_columns<std::uint16_t>(rows, n, dim, a.dims.page_tokens, begin.slot, k);
  }
}

} // namespace

void host_append(const append_args& a, executor& exec) noexcept {
  const page_layout lay = layout_of(a.dims, a.stored);
  const std::size_t parts = (a.targets.size() + targets_per_part - 1) / targets_per_part;
  exec.run(parts, [&](std::size_t part, std::size_t) {
    std::size_t i = part * targets_per_part;
    const std::size_t end = std::min(i + targets_per_part, a.targets.size());
    while (i < end) {
      const append_target& x = a.targets[i];
      std::size_t n = 1;
      while (i + n < end && a.targets[i + n].page == x.page && a.targets[i + n].slot == x.slot + n)
        ++n;
      append_run(a, lay, i, n);
      i += n;
    }
  });
}

} // namespace pikv::gpu::detail
