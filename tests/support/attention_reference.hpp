// SPDX-License-Identifier: Apache-2.0
/// \file
/// Plain float64 readings of what pages mean: stored values, attention, scores. Written from the
/// contracts in gpu/page_layout.hpp and gpu/kernels.hpp, without the code that implements them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <pikv/gpu/kernels.hpp>

namespace pikv::test {

/// IEEE binary16 by its definition.
inline double f16_value(std::uint16_t h) {
  const double sign = (h & 0x8000) != 0 ? -1 : 1;
  const int exponent = h >> 10 & 31;
  const int fraction = h & 1023;
  if (exponent == 31)
    return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  return exponent == 0 ? sign * std::ldexp(fraction, -24)
                       : sign * std::ldexp(1024 + fraction, exponent - 25);
}

template <class T>
T read_at(const std::byte* p, std::size_t index) {
  T x;
  std::memcpy(&x, p + index * sizeof(T), sizeof x);
  return x;
}

/// Element `index` of an array of `type`.
inline double element(const std::byte* p, dtype type, std::size_t index) {
  if (type == dtype::f32)
    return static_cast<double>(read_at<float>(p, index));
  const auto h = read_at<std::uint16_t>(p, index);
  if (type == dtype::f16)
    return f16_value(h);
  const std::uint32_t bits = std::uint32_t{h} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return static_cast<double>(x);
}

/// OCP 8-bit float e4m3 by its definition: no infinities, one NaN for each sign.
inline double e4m3_value(std::uint8_t x) {
  const double sign = (x & 0x80) != 0 ? -1 : 1;
  const int exponent = x >> 3 & 15;
  const int fraction = x & 7;
  if (exponent == 15 && fraction == 7)
    return std::nan("");
  return exponent == 0 ? sign * std::ldexp(fraction, -9)
                       : sign * std::ldexp(8 + fraction, exponent - 10);
}

/// Integer `i` of a group of `group` values in `bits` each, by the words of page_layout.hpp.
inline unsigned packed_integer(const std::byte* at, unsigned bits, std::size_t i,
                               std::size_t group) {
  const auto byte = [at](std::size_t n) { return unsigned{read_at<std::uint8_t>(at, n)}; };
  if (bits == 8)
    return byte(i);
  if (bits == 4)
    return i < group / 2 ? byte(i) & 15 : byte(i - group / 2) >> 4;
  const unsigned low = byte(i % (group / 4)) >> 2 * (i / (group / 4)) & 3;
  if (bits == 2)
    return low;
  return low | (byte(group / 4 + i % (group / 8)) >> i / (group / 8) & 1) << 2;
}

/// One quantised value: `index` counts values from the part's begin, groups follow each other.
inline double quantised(const std::byte* part, const std::byte* scales, form stored, unsigned bits,
                        std::size_t index, std::size_t group) {
  if (stored == form::fp8)
    return e4m3_value(read_at<std::uint8_t>(part, index))
           * static_cast<double>(read_at<float>(scales, 0));
  const std::size_t g = index / group;
  const unsigned q = packed_integer(part + g * group * bits / 8, bits, index % group, group);
  return q * f16_value(read_at<std::uint16_t>(scales, 2 * g))
         + f16_value(read_at<std::uint16_t>(scales, 2 * g + 1));
}

inline dtype raw_type(form x) {
  return x == form::f32 ? dtype::f32 : x == form::f16 ? dtype::f16 : dtype::bf16;
}

/// K of (head, slot, channel) as stored.
inline double stored_k(const gpu::cache_dims& dims, const gpu::page_view& page, std::size_t head,
                       std::size_t slot, std::size_t channel) {
  const gpu::page_layout lay = gpu::layout_of(dims, page.stored);
  const std::byte* p = page.data + head * lay.head_bytes;
  const std::size_t index = channel * dims.page_tokens + slot;
  return is_raw(page.stored) ? element(p + lay.k_offset, raw_type(page.stored), index)
                             : quantised(p + lay.k_offset, p + lay.k_scale_offset, page.stored,
                                         lay.packing.k_bits, index, lay.k_group);
}

/// V of (head, slot, channel) as stored.
inline double stored_v(const gpu::cache_dims& dims, const gpu::page_view& page, std::size_t head,
                       std::size_t slot, std::size_t channel) {
  const gpu::page_layout lay = gpu::layout_of(dims, page.stored);
  const std::byte* p = page.data + head * lay.head_bytes;
  const std::size_t index = slot * dims.head_dim + channel;
  return is_raw(page.stored) ? element(p + lay.v_offset, raw_type(page.stored), index)
                             : quantised(p + lay.v_offset, p + lay.v_scale_offset, page.stored,
                                         lay.packing.v_bits, index, lay.v_group);
}

inline double tensor_value(const gpu::tensor_ref& t, std::size_t row, std::size_t head,
                           std::size_t channel) {
  return element(t.data, t.type, row * t.row_stride + head * t.head_stride + channel);
}

/// Attention of one row and query head, in float64.
struct row_reference {
  std::vector<double> out; ///< `[head_dim]`
  double lse = -std::numeric_limits<double>::infinity();
  std::vector<double> page_lse; ///< `[settled pages]`; -inf where nothing was read
};

/// The pages of `seq.settled` that row `row` (of the batch) reads for KV head `head`.
inline std::vector<std::size_t> settled_pages_read(const gpu::attend_args& a,
                                                   const gpu::sequence_rows& seq, std::size_t row,
                                                   std::size_t head) {
  std::vector<std::size_t> pages;
  for (std::size_t i = 0; i < seq.settled.size(); ++i) {
    bool read = a.selection == nullptr;
    if (!read) {
      const auto& s = *a.selection;
      const std::size_t list = row * s.scopes + (s.scopes == 1 ? 0 : head);
      const auto ids = s.pages.subspan(s.offsets[list], s.offsets[list + 1] - s.offsets[list]);
      read = i >= s.always_from[row] || std::find(ids.begin(), ids.end(), i) != ids.end();
    }
    if (read)
      pages.push_back(i);
  }
  return pages;
}

inline row_reference attend_row(const gpu::attend_args& a, const gpu::sequence_rows& seq,
                                std::size_t local_row, std::size_t query_head) {
  const gpu::cache_dims& dims = a.dims;
  const std::size_t head = query_head / dims.group();
  const std::size_t row = seq.row_begin + local_row;
  row_reference r;
  r.out.assign(dims.head_dim, 0);
  r.page_lse.assign(seq.settled.size(), -std::numeric_limits<double>::infinity());
  double top = -std::numeric_limits<double>::infinity();
  struct read_entry {
    const gpu::page_view* page;
    std::size_t slot;
    std::size_t settled;
    double logit;
  };
  std::vector<read_entry> entries;
  const auto read = [&](const gpu::page_view& page, std::size_t settled) {
    for (std::size_t t = 0; page.data != nullptr && t < page.tokens; ++t) {
      if (page.first_position + t > seq.first_position + local_row)
        continue;
      double logit = 0;
      for (std::size_t c = 0; c < dims.head_dim; ++c)
        logit += tensor_value(a.q, row, query_head, c) * stored_k(dims, page, head, t, c);
      logit *= static_cast<double>(a.scale);
      top = std::max(top, logit);
      entries.push_back({&page, t, settled, logit});
    }
  };
  for (const std::size_t i : settled_pages_read(a, seq, row, head))
    read(seq.settled[i], i);
  for (const gpu::page_view& page : seq.window)
    read(page, seq.settled.size());
  if (entries.empty())
    return r;
  double sum = 0;
  std::vector<double> page_top(seq.settled.size() + 1, -std::numeric_limits<double>::infinity());
  std::vector<double> page_sum(seq.settled.size() + 1, 0);
  for (const read_entry& e : entries) {
    const double w = std::exp(e.logit - top);
    sum += w;
    page_top[e.settled] = std::max(page_top[e.settled], e.logit);
    for (std::size_t c = 0; c < dims.head_dim; ++c)
      r.out[c] += w * stored_v(dims, *e.page, head, e.slot, c);
  }
  for (const read_entry& e : entries)
    page_sum[e.settled] += std::exp(e.logit - page_top[e.settled]);
  for (double& x : r.out)
    x /= sum;
  r.lse = top + std::log(sum);
  for (std::size_t i = 0; i < seq.settled.size(); ++i)
    if (page_sum[i] > 0)
      r.page_lse[i] = page_top[i] + std::log(page_sum[i]);
  return r;
}

} // namespace pikv::test
