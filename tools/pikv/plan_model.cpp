// SPDX-License-Identifier: Apache-2.0
#include "plan_model.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <pikv/actors/shard_owner/geometry.hpp>

namespace pikv::tools {

namespace {

constexpr std::uint32_t widest_head = 256; // values, of what a cache can hold
constexpr std::uint32_t dim_step = 32;

// Together they keep every product of this file below 2^63.
constexpr std::uint64_t most_context = std::uint64_t{1} << 32; // positions are 32 bit
constexpr std::uint64_t most_tokens = std::uint64_t{1} << 36;  // of all sequences
constexpr std::uint64_t most_sequences = std::uint64_t{1} << 24;
constexpr std::uint32_t most_devices = 1 << 16;
constexpr std::uint32_t most_layers = 1 << 8;
constexpr std::uint32_t most_heads = 1 << 7;
constexpr std::uint32_t most_shards = 1 << 12; // as in a configuration

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) noexcept {
  return (a + b - 1) / b;
}

gpu::cache_dims dims_of(const kv_model& model, std::uint32_t page_tokens) noexcept {
  return {model.query_heads, model.kv_heads, model.k_dim, page_tokens};
}

} // namespace

result<void> check(const plan_request& x) {
  const auto bad = [](std::string what) { return error{errc::invalid_argument, std::move(what)}; };
  const auto& m = x.model;
  if (m.layers == 0 || m.kv_heads == 0 || m.k_dim == 0)
    return bad("layers, KV heads and head dim must be at least 1; give --model or --layers, "
               "--kv-heads and --head-dim");
  if (m.query_heads == 0 || m.query_heads % m.kv_heads != 0)
    return bad(fmt::format("{} query heads cannot share {} KV heads evenly; the first must be a "
                           "multiple of the second",
                           m.query_heads, m.kv_heads));
  if (m.k_dim % dim_step != 0 || (!m.latent() && m.k_dim > widest_head))
    return bad(fmt::format("head dim {} is not stored; allowed: multiples of {} up to {}", m.k_dim,
                           dim_step, widest_head));
  if (x.page_tokens != 8 && x.page_tokens != 16 && x.page_tokens != 32 && x.page_tokens != 64)
    return bad(fmt::format("page of {} tokens; allowed: 8, 16, 32, 64", x.page_tokens));
  if (x.context == 0 || x.sequences == 0 || x.gpus == 0 || x.shards == 0)
    return bad("context, sequences, gpus and shards must be at least 1");
  if (x.sinks > x.page_tokens)
    return bad(fmt::format("{} sinks; they share one page, so at most {}", x.sinks, x.page_tokens));
  if (x.sequences > most_sequences || x.context >= most_context
      || x.context > most_tokens / x.sequences || x.gpus > most_devices || m.layers > most_layers
      || m.kv_heads > most_heads)
    return bad(fmt::format("too large: at most {} sequences, {} tokens in one and {} in all, {} "
                           "devices, {} layers and {} KV heads",
                           most_sequences, most_context - 1, most_tokens, most_devices, most_layers,
                           most_heads));
  if (x.shards > most_shards)
    return bad(fmt::format("{} shards; at most {}", x.shards, most_shards));
  if (!is_raw(x.raw) || (is_raw(x.stored) && x.raw != x.stored))
    return bad(
        "sinks and window are kept in a raw form, the same as settled pages if they are raw");
  return {};
}

page_counts count_pages(const plan_request& x) noexcept {
  const page_geometry geometry{x.sinks, x.page_tokens, x.window};
  const std::uint64_t sinks = std::min<std::uint64_t>(x.sinks, x.context);
  page_counts out;
  out.settled = geometry.settled_pages(static_cast<std::uint32_t>(x.context));
  out.raw_tokens = x.context - out.settled * x.page_tokens;
  out.raw = (sinks > 0 ? 1 : 0) + ceil_div(out.raw_tokens - sinks, x.page_tokens);
  if (x.entries) {
    // Even loads with random remainders: each shard that has had entries keeps a page that is half
    // full on average, and what those hold is not settled.
    const auto gone = out.settled * x.page_tokens;
    const auto open = std::min<std::uint64_t>(x.shards, gone);
    const auto held = std::min(gone, ceil_div(open * x.page_tokens, 2));
    out.settled = (gone - held) / x.page_tokens;
    out.raw += open;
    out.raw_tokens = x.context - out.settled * x.page_tokens;
  }
  return out;
}

page_bytes bytes_of_page(const kv_model& model, std::uint32_t page_tokens, form stored) noexcept {
  const auto layout = gpu::layout_of(dims_of(model, page_tokens), stored);
  page_bytes out;
  const form_traits& bits = traits_of(stored);
  const std::uint64_t values = model.values_per_layer() * page_tokens;
  out.values = model.latent() ? values * bits.k_bits / 8 : values / 2 * bits.bits() / 8;
  if (stored == form::fp8) {
    constexpr std::uint64_t scale_bytes = 4;
    out.scales = model.kv_heads * (model.latent() ? 1 : 2) * scale_bytes;
  } else if (!is_raw(stored)) {
    constexpr std::uint64_t pair_bytes = 4;
    const std::uint64_t k = std::uint64_t{model.k_dim} * (page_tokens / layout.k_group);
    const std::uint64_t v = std::uint64_t{page_tokens} * (model.v_dim / layout.v_group);
    out.scales = model.kv_heads * (k + v) * pair_bytes;
  }
  // A latent has the K parts of a head only: they lie between the head's begin and V, and between
  // the two scale arrays.
  out.total = model.latent() ? model.kv_heads
                                   * (layout.v_offset - layout.k_offset
                                      + (layout.v_scale_offset - layout.k_scale_offset))
                             : layout.page_bytes;
  out.alignment = out.total - out.values - out.scales;
  return out;
}

std::uint64_t summary_bytes(const kv_model& model, std::uint32_t page_tokens,
                            std::uint8_t summary_parts) noexcept {
  return gpu::summary_layout_of(dims_of(model, page_tokens), summary_parts).bytes;
}

plan make_plan(const plan_request& x) noexcept {
  plan out;
  out.pages = count_pages(x);
  out.holders = std::min(x.gpus, x.shards);
  out.passing = passing_bytes(x, 0);
  const auto add = [&out](const byte_account& account, std::uint64_t devices) {
    out.cache_bytes += devices * account.total();
    if (account.total() > out.device.total())
      out.device = account;
  };
  for (std::uint32_t device = 0; device < out.holders; ++device)
    add(account_of(x, device), 1);
  // The others hold windows alone: as many as their neighbour, or one less from some device on.
  if (out.holders < x.gpus) {
    const auto extra = static_cast<std::uint32_t>(x.sequences % x.gpus);
    const auto more = std::clamp(extra, out.holders, x.gpus);
    if (more > out.holders)
      add(account_of(x, out.holders), more - out.holders);
    if (more < x.gpus)
      add(account_of(x, more), x.gpus - more);
  }
  out.bytes_per_token =
      static_cast<double>(out.cache_bytes) / static_cast<double>(x.context * x.sequences);
  out.dense_bytes_per_token = x.model.bytes_per_token(16);
  return out;
}

} // namespace pikv::tools
