// SPDX-License-Identifier: Apache-2.0
// Kernels that move whole pages: append, summaries, codecs. 8 KV heads, 128 channels, pages of 16.
#include <fmt/format.h>

#include <pikv/gpu/cuda/append.hpp>
#include <pikv/gpu/cuda/codec.hpp>
#include <pikv/gpu/cuda/summary.hpp>

#include "cases.hpp"
#include "timing.hpp"

namespace pikv::bench {
namespace {

constexpr gpu::cache_dims dims{32, 8, 128, 16};
constexpr std::size_t sets = 2; ///< of buffers; each is larger than the cache

/// Pages in one allocation, as views and as outputs.
struct page_table {
  device_bytes memory;
  std::vector<gpu::page_view> views;
  std::vector<std::byte*> addresses;
  device_bytes view_table, address_table;

  page_table(form stored, std::size_t count, bool random)
      : memory(count * gpu::layout_of(dims, stored).page_bytes, random),
        views(make_views(stored, count)), addresses(make_addresses(stored, count)),
        view_table(std::span<const gpu::page_view>(views)),
        address_table(std::span<std::byte* const>(addresses)) {}

  std::vector<std::byte*> make_addresses(form stored, std::size_t count) const {
    std::vector<std::byte*> x;
    for (std::size_t i = 0; i < count; ++i)
      x.push_back(memory.data() + i * gpu::layout_of(dims, stored).page_bytes);
    return x;
  }
  std::vector<gpu::page_view> make_views(form stored, std::size_t count) const {
    std::vector<gpu::page_view> x;
    for (std::byte* p : make_addresses(stored, count)) {
      gpu::page_view v;
      v.data = p;
      v.first_position = static_cast<std::uint32_t>(x.size() * 16);
      v.tokens = 16;
      v.stored = stored;
      x.push_back(v);
    }
    return x;
  }
};

std::vector<page_table> tables(form stored, std::size_t count, bool random = true) {
  std::vector<page_table> x;
  for (std::size_t i = 0; i < sets; ++i)
    x.emplace_back(stored, count, random);
  return x;
}

/// Rows and their targets: one run of whole pages, or one token of each of many pages.
struct append_buffers {
  device_bytes k, v;
  std::vector<page_table> pages;
  device_bytes targets;
  std::vector<device_bytes> target_tables;

  append_buffers(form stored, std::uint32_t tokens, bool single)
      : k(tokens * 2048, true), v(tokens * 2048, true),
        pages(tables(stored, single ? tokens : (tokens + 15) / 16, false)), targets(16, false) {
    for (const auto& p : pages) {
      std::vector<gpu::append_target> list;
      for (std::uint32_t i = 0; i < tokens; ++i)
        list.push_back(
            {p.addresses[single ? i : i / 16], i, static_cast<std::uint16_t>(single ? 7 : i % 16)});
      target_tables.emplace_back(std::span<const gpu::append_target>(list));
    }
  }

  gpu::cuda::append_launch launch(form stored, std::uint32_t tokens, int set) const {
    const dtype type = stored == form::bf16 ? dtype::bf16 : dtype::f16;
    return {dims,
            stored,
            {k.data(), type, 1024, 128},
            {v.data(), type, 1024, 128},
            tokens,
            target_tables[static_cast<std::size_t>(set)].as<gpu::append_target>()};
  }
};

void append_case(form stored, std::uint32_t tokens, bool single) {
  const append_buffers b(stored, tokens, single);
  const double us = median_us(tokens > 4096 ? 4 : 20, 15, [&](int i, cudaStream_t stream) {
    must(gpu::cuda::append(b.launch(stored, tokens, i % static_cast<int>(sets)), stream));
  });
  const double bytes = 2.0 * tokens * 4096;
  report({fmt::format("append {}", to_string(stored)),
          fmt::format("{} tokens, {}", tokens, single ? "a page each" : "whole pages"), us, bytes,
          copy_us(static_cast<std::size_t>(bytes))});
}

/// `coded` f16: no copy.
void append_complete_case(std::uint32_t tokens, std::uint8_t parts, form coded) {
  const append_buffers b(form::f16, tokens, false);
  const bool copies = !is_raw(coded);
  const std::size_t count = tokens / 16;
  const std::size_t summary_bytes = gpu::summary_layout_of(dims, parts).bytes;
  const device_bytes summaries(count * summary_bytes, false),
      errors(count * sizeof(gpu::codec_error), false);
  const auto copy = tables(copies ? coded : form::int4, count, false);
  std::vector<device_bytes> completions;
  for (std::size_t s = 0; s < sets; ++s) {
    std::vector<gpu::cuda::append_completion> list(tokens);
    for (std::size_t i = 0; i < tokens; ++i)
      list[i] = {summaries.data() + i / 16 * summary_bytes,
                 copies ? copy[s].addresses[i / 16] : nullptr,
                 errors.as<gpu::codec_error>() + i / 16};
    completions.emplace_back(std::span<const gpu::cuda::append_completion>(list));
  }
  const double us = median_us(4, 15, [&](int i, cudaStream_t stream) {
    const int set = i % static_cast<int>(sets);
    gpu::cuda::append_complete_launch x;
    x.append = b.launch(form::f16, tokens, set);
    x.parts = parts;
    x.with_copies = copies;
    x.coded = coded;
    x.completions = completions[static_cast<std::size_t>(set)].as<gpu::cuda::append_completion>();
    must(gpu::cuda::append_complete(x, stream));
  });
  const double coded_bytes =
      copies ? static_cast<double>(count * gpu::layout_of(dims, coded).page_bytes) : 0;
  const double bytes =
      2.0 * tokens * 4096 + static_cast<double>(count * summary_bytes) + coded_bytes;
  report({fmt::format("append+summary{}{}", copies ? "+" : "", copies ? to_string(coded) : ""),
          fmt::format("{} tokens, whole pages", tokens), us, bytes,
          copy_us(static_cast<std::size_t>(bytes))});
}

void summarise_case(form stored, std::uint8_t parts, std::size_t count) {
  const auto pages = tables(stored, count);
  const std::size_t each = gpu::summary_layout_of(dims, parts).bytes;
  const device_bytes memory(count * each, false);
  std::vector<std::byte*> list;
  for (std::size_t i = 0; i < count; ++i)
    list.push_back(memory.data() + i * each);
  const device_bytes out{std::span<std::byte* const>(list)};
  const double us = median_us(4, 15, [&](int i, cudaStream_t stream) {
    must(gpu::cuda::summarise(
        {dims, parts, static_cast<std::uint32_t>(count),
         pages[static_cast<std::size_t>(i) % sets].view_table.as<gpu::page_view>(),
         out.as<std::byte*>()},
        stream));
  });
  const double bytes = static_cast<double>(count) * 16 * 2048 + static_cast<double>(count * each);
  report({fmt::format("summarise {}", to_string(stored)),
          fmt::format("{} pages, {}", count, parts == 1 ? "mean+var" : "all"), us, bytes,
          copy_us(static_cast<std::size_t>(bytes))});
}

void codec_case(form raw, form coded, std::size_t count) {
  const auto in = tables(raw, count);
  const auto out = tables(coded, count, false);
  const device_bytes errors(count * sizeof(gpu::codec_error), false);
  const auto n = static_cast<std::uint32_t>(count);
  const auto set = [](int i) { return static_cast<std::size_t>(i) % sets; };
  const double encode_us = median_us(4, 15, [&](int i, cudaStream_t stream) {
    must(gpu::cuda::encode({dims, raw, coded, n, in[set(i)].view_table.as<gpu::page_view>(),
                            out[set(i)].address_table.as<std::byte*>(),
                            errors.as<gpu::codec_error>()},
                           stream));
  });
  const double decode_us = median_us(4, 15, [&](int i, cudaStream_t stream) {
    must(gpu::cuda::decode({dims, raw, n, out[set(i)].view_table.as<gpu::page_view>(),
                            in[set(i)].address_table.as<std::byte*>()},
                           stream));
  });
  const double bytes = static_cast<double>(
      count * (gpu::layout_of(dims, raw).page_bytes + gpu::layout_of(dims, coded).page_bytes));
  const double copy = copy_us(static_cast<std::size_t>(bytes));
  const std::string shape = fmt::format("{} pages, {} tokens", count, count * 16);
  report({fmt::format("encode {} to {}", to_string(raw), to_string(coded)), shape, encode_us, bytes,
          copy});
  report({fmt::format("decode {} to {}", to_string(coded), to_string(raw)), shape, decode_us, bytes,
          copy});
}

} // namespace

void bench_append() {
  append_case(form::f16, 64, true);
  append_case(form::f16, 1024, false);
  append_case(form::f16, 65536, false);
  append_case(form::bf16, 65536, false);
  append_complete_case(64, gpu::summary_mean_var, form::f16);
  append_complete_case(65536, gpu::summary_mean_var, form::f16);
  for (const form coded : {form::int8, form::int4, form::fp8})
    append_complete_case(65536, gpu::summary_mean_var, coded);
}

void bench_codec() {
  summarise_case(form::f16, gpu::summary_mean_var, 4096);
  summarise_case(form::bf16, gpu::summary_mean_var | gpu::summary_min_max, 4096);
  for (const form coded : {form::int8, form::int4, form::fp8}) {
    codec_case(form::f16, coded, 16);
    codec_case(form::f16, coded, 4096);
    codec_case(form::bf16, coded, 4096);
  }
}

} // namespace pikv::bench
