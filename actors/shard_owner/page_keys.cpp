// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/shard_owner/page_keys.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <pikv/gpu/host/half.hpp>

namespace pikv {

namespace {

/// One channel of an f16 array.
double half_at(const std::byte* array, std::uint32_t channel) noexcept {
  std::uint16_t bits = 0;
  std::memcpy(&bits, array + channel * sizeof bits, sizeof bits);
  return static_cast<double>(gpu::detail::f32_from_f16(bits));
}

/// E |k|^2 = |mean|^2 + sum of variances.
double square_norm(const std::byte* head, const gpu::summary_layout& at, std::uint32_t dim) {
  double sum = 0;
  for (std::uint32_t c = 0; c < dim; ++c) {
    const auto mean = half_at(head + at.mean_offset, c);
    sum += mean * mean + half_at(head + at.var_offset, c);
  }
  return sum;
}

/// Of the box's farthest corner.
double reach(const std::byte* head, const gpu::summary_layout& at, std::uint32_t dim) {
  double sum = 0;
  for (std::uint32_t c = 0; c < dim; ++c) {
    const auto x = std::max(std::abs(half_at(head + at.min_offset, c)),
                            std::abs(half_at(head + at.max_offset, c)));
    sum += x * x;
  }
  return std::sqrt(sum);
}

/// Adds the unit mean key to `direction` and returns their cosine; 0 where a length is.
double likeness(const std::byte* head, const gpu::summary_layout& at, std::uint32_t dim,
                float* direction) {
  double own = 0;
  for (std::uint32_t c = 0; c < dim; ++c)
    own += half_at(head + at.mean_offset, c) * half_at(head + at.mean_offset, c);
  if (!(own > 0) || !std::isfinite(own))
    return 0;
  double product = 0, length = 0;
  for (std::uint32_t c = 0; c < dim; ++c) {
    const auto unit = half_at(head + at.mean_offset, c) / std::sqrt(own);
    direction[c] += static_cast<float>(unit);
    product += unit * static_cast<double>(direction[c]);
    length += static_cast<double>(direction[c]) * static_cast<double>(direction[c]);
  }
  return length > 0 ? product / std::sqrt(length) : 0;
}

void tell(key_facts& x, key_fact fact, float& field, double value) noexcept {
  field = static_cast<float>(value);
  if (std::isfinite(field))
    x.known |= fact;
  else
    field = 0;
}

} // namespace

std::uint8_t summary_parts_of(std::uint8_t facts) noexcept {
  std::uint8_t parts = gpu::summary_none;
  if ((facts & (key_fact_norm | key_fact_likeness)) != 0)
    parts |= gpu::summary_mean_var;
  if ((facts & key_fact_reach) != 0)
    parts |= gpu::summary_min_max;
  return parts;
}

key_facts facts_of(const std::byte* summary, const gpu::summary_layout& layout,
                   const gpu::cache_dims& dims, std::uint8_t wanted,
                   std::vector<float>& direction) {
  const auto dim = dims.head_dim;
  double squares = 0, cosines = 0, reaches = 0;
  const auto asked = [&](key_fact x) {
    const auto parts = summary_parts_of(x);
    return (wanted & x) != 0 && (layout.parts & parts) == parts;
  };
  if (asked(key_fact_likeness))
    direction.resize(std::size_t{dims.kv_heads} * dim);
  for (std::uint32_t h = 0; h < dims.kv_heads; ++h) {
    const auto* head = summary + h * layout.head_bytes;
    if (asked(key_fact_norm))
      squares += square_norm(head, layout, dim);
    if (asked(key_fact_likeness))
      cosines += likeness(head, layout, dim, direction.data() + std::size_t{h} * dim);
    if (asked(key_fact_reach))
      reaches += reach(head, layout, dim);
  }
  key_facts out;
  const double heads = dims.kv_heads;
  if (asked(key_fact_norm))
    tell(out, key_fact_norm, out.norm, std::sqrt(squares / heads));
  if (asked(key_fact_likeness))
    tell(out, key_fact_likeness, out.likeness, cosines / heads);
  if (asked(key_fact_reach))
    tell(out, key_fact_reach, out.reach, reaches / heads);
  return out;
}

} // namespace pikv
