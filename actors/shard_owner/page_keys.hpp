// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a page's summary says of its keys, for scheduling policies that ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <pikv/gpu/page_layout.hpp>
#include <pikv/messages/key_facts.hpp>

namespace pikv {

/// The summary parts that the facts (key_fact bits) are computed from.
std::uint8_t summary_parts_of(std::uint8_t facts) noexcept;

/// The facts that `wanted` names, as far as `layout` has the parts; means over the KV heads.
/// `summary`: `layout.bytes`, readable by the host. `direction`: sums of the unit mean keys
/// `[kv_heads, head_dim]` of the pages before, of one (sequence, layer), or empty; with
/// key_fact_likeness this page's are added. Facts that are not finite are left unknown.
key_facts facts_of(const std::byte* summary, const gpu::summary_layout& layout,
                   const gpu::cache_dims& dims, std::uint8_t wanted, std::vector<float>& direction);

} // namespace pikv
