// SPDX-License-Identifier: Apache-2.0
#include "layers.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

#include <fmt/format.h>

namespace pikv::bench {

namespace {

constexpr std::uint64_t row_stride = std::uint64_t{dims.kv_heads} * dims.head_dim;
constexpr std::uint64_t q_stride = std::uint64_t{dims.query_heads} * dims.head_dim;

std::size_t raw_bytes() { return gpu::layout_of(dims, form::bf16).page_bytes; }
std::size_t encoded_bytes() { return gpu::layout_of(dims, form::int8).page_bytes; }

/// bf16 numbers around zero with ordinary exponents.
std::vector<std::uint16_t> noise(std::size_t n) {
  std::vector<std::uint16_t> x(n);
  std::uint32_t state = 1;
  for (auto& v : x) {
    state = state * 1664525U + 1013904223U;
    v = static_cast<std::uint16_t>(0x3E00U | (state >> 16 & 0x81FFU));
  }
  return x;
}

std::vector<std::uint32_t> shuffled(std::uint32_t n) {
  std::vector<std::uint32_t> x(n);
  std::iota(x.begin(), x.end(), 0U);
  std::shuffle(x.begin(), x.end(), std::mt19937_64(5));
  return x;
}

} // namespace

void must_end(const result<void>& r) {
  if (!r)
    stop(r.error());
}

double milliseconds(std::initializer_list<gpu::stream*> streams,
                    const std::function<void()>& enqueue) {
  const auto begin = std::chrono::steady_clock::now();
  enqueue();
  for (auto* s : streams)
    s->synchronize();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

double median(std::vector<double> x) {
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::ranges::nth_element(x, middle);
  return *middle;
}

std::size_t pipeline_sizes::host_bytes() const {
  return std::size_t{layers} * copy_pages * encoded_bytes();
}

layers::layers(gpu::device& device, const pipeline_sizes& sizes)
    : sizes_(sizes), kernels_(device.kernels()),
      host_(must(device.scratch().allocate(sizes.host_bytes()))),
      rows_(noise(2 * sizes.rows * row_stride)), blank_rows_(2 * sizes.rows * row_stride * 2),
      q_(noise(sizes.sequences * q_stride)), out_(sizes.sequences * q_stride * 2),
      lse_(std::size_t{sizes.sequences} * dims.query_heads * sizeof(float)),
      errors_(sizes.encode_pages * sizeof(gpu::codec_error)) {
  const auto order = shuffled(sizes.pages());
  const device_memory pattern(noise(sizes.pages() * raw_bytes() / 2));
  layers_.reserve(sizes.layers); // descriptors point into it
  for (std::uint32_t l = 0; l < sizes.layers; ++l) {
    auto* host = host_.data() + std::size_t{l} * sizes.copy_pages * encoded_bytes();
    layers_.push_back(make_layer(order, host));
    require(cudaMemcpy(layers_.back().pages.as(), pattern.as(), sizes.pages() * raw_bytes(),
                       cudaMemcpyDeviceToDevice),
            "pages");
  }
  // Streams of devices do not wait for the default stream, which filled the memory.
  require(cudaDeviceSynchronize(), "set-up");
}

layers::layer layers::make_layer(std::span<const std::uint32_t> order, std::byte* host) const {
  layer x{device_memory(sizes_.pages() * raw_bytes()),
          device_memory(sizes_.encode_pages * encoded_bytes()),
          {},
          {},
          {},
          {},
          {}};
  const auto each = sizes_.context / dims.page_tokens;
  for (std::uint32_t i = 0; i < sizes_.pages(); ++i) {
    gpu::page_view v;
    v.data = x.pages.as() + order[i] * raw_bytes();
    v.first_position = i % each * dims.page_tokens;
    v.tokens = static_cast<std::uint16_t>(dims.page_tokens);
    v.stored = form::bf16;
    x.views.push_back(v);
  }
  for (std::uint32_t i = 0; i < sizes_.sequences; ++i) {
    gpu::sequence_rows s;
    s.settled = std::span<const gpu::page_view>(x.views).subspan(std::size_t{i} * each, each);
    s.row_begin = i;
    s.row_count = 1;
    s.first_position = sizes_.context - 1;
    x.sequences.push_back(s);
  }
  for (std::uint32_t i = 0; i < sizes_.rows; ++i)
    x.targets.push_back({x.pages.as() + order[i] * raw_bytes(), i,
                         static_cast<std::uint16_t>(dims.page_tokens - 1)});
  for (std::uint32_t i = 0; i < sizes_.encode_pages; ++i)
    x.encode_to.push_back(x.encoded.as() + i * encoded_bytes());
  for (std::uint32_t i = 0; i < sizes_.copy_pages; ++i)
    x.copies.push_back({x.encode_to[i], host + i * encoded_bytes(), encoded_bytes()});
  return x;
}

void layers::append_rows(gpu::stream& s, std::uint32_t l, const device_memory& rows) {
  gpu::append_args a;
  a.dims = dims;
  a.stored = form::bf16;
  a.k = {rows.as(), dtype::bf16, row_stride, dims.head_dim};
  a.v = {rows.as() + sizes_.rows * row_stride * 2, dtype::bf16, row_stride, dims.head_dim};
  a.targets = layers_[l].targets;
  s.enqueue([this, a](gpu::executor& x) { kernels_.append(a, x); }, must_end, "append");
}

void layers::append(gpu::stream& s, std::uint32_t l) { append_rows(s, l, rows_); }

void layers::attend(gpu::stream& s, std::uint32_t l) {
  gpu::attend_args a;
  a.dims = dims;
  a.scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
  a.q = {q_.as(), dtype::bf16, q_stride, dims.head_dim};
  a.sequences = layers_[l].sequences;
  a.out = {out_.as(), dtype::bf16, q_stride, dims.head_dim};
  a.lse = lse_.as<float>();
  s.enqueue([this, a](gpu::executor& x) { kernels_.attend(a, x); }, must_end, "attend");
}

void layers::encode(gpu::stream& s, std::uint32_t l) {
  gpu::encode_args a;
  a.dims = dims;
  a.target = form::int8;
  a.pages = std::span(layers_[l].views).first(sizes_.encode_pages);
  a.out = layers_[l].encode_to;
  a.errors = {errors_.as<gpu::codec_error>(), sizes_.encode_pages};
  s.enqueue([this, a](gpu::executor& x) { kernels_.encode(a, x); }, must_end, "encode");
}

void layers::copy(gpu::stream& s, std::uint32_t l) {
  s.enqueue([this, l](gpu::executor& x) { kernels_.copy(layers_[l].copies, x); }, must_end, "copy");
}

void layers::blank(gpu::stream& s) {
  for (std::uint32_t l = 0; l < sizes_.layers; ++l) {
    append_rows(s, l, blank_rows_);
    encode(s, l); // else a copy that does not wait finds the right bytes of an earlier run
  }
  s.synchronize();
  std::memset(host_.data(), 0, host_.bytes());
}

} // namespace pikv::bench
