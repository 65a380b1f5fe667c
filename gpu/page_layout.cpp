// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/page_layout.hpp>

#include <algorithm>

namespace pikv::gpu {
namespace {

constexpr std::uint32_t max_k_group = 32;
constexpr std::uint32_t max_k_group_of_few_bits = 64; // scales weigh more beside fewer bits
constexpr std::uint32_t channels_per_v_scale = 32;
constexpr std::size_t f16_bytes = 2;

constexpr std::size_t align64(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

} // namespace

page_layout layout_of(const cache_dims& dims, form stored) noexcept {
  page_layout x;
  x.stored = stored;
  x.v_group = channels_per_v_scale;
  const std::size_t values = std::size_t{dims.head_dim} * dims.page_tokens;
  x.packing = traits_of(stored);
  x.k_group =
      std::min(dims.page_tokens, x.packing.k_bits < 4 ? max_k_group_of_few_bits : max_k_group);
  x.v_offset = align64(values * x.packing.k_bits / 8);
  x.head_bytes = x.v_offset + align64(values * x.packing.v_bits / 8);
  x.k_scale_offset = x.head_bytes;
  x.v_scale_offset = x.head_bytes;
  if (stored == form::fp8) {
    x.v_scale_offset += align64(sizeof(float));
    x.head_bytes = x.v_scale_offset + align64(sizeof(float));
  } else if (x.packing.grouped) {
    x.v_scale_offset += align64(values / x.k_group * 2 * f16_bytes);
    x.head_bytes = x.v_scale_offset + align64(values / x.v_group * 2 * f16_bytes);
  }
  x.page_bytes = x.head_bytes * dims.kv_heads;
  return x;
}

summary_layout summary_layout_of(const cache_dims& dims, std::uint8_t parts) noexcept {
  summary_layout x;
  x.parts = parts;
  const std::size_t row = std::size_t{dims.head_dim} * f16_bytes;
  if ((parts & summary_mean_var) != 0) {
    x.mean_offset = x.head_bytes;
    x.var_offset = x.mean_offset + row;
    x.head_bytes = x.var_offset + row;
  }
  if ((parts & summary_min_max) != 0) {
    x.min_offset = x.head_bytes;
    x.max_offset = x.min_offset + row;
    x.head_bytes = x.max_offset + row;
  }
  x.bytes = x.head_bytes * dims.kv_heads;
  return x;
}

} // namespace pikv::gpu
