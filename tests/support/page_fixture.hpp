// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random pages and tensors for tests and benchmarks of kernels. Values come from a seeded
/// generator; every slot beyond a page's tokens holds NaN bytes, so that reading one is seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <pikv/gpu/host/half.hpp>
#include <pikv/gpu/host/kernels.hpp>
#include <pikv/gpu/host/worker_pool.hpp>

namespace pikv::test {

/// Memory aligned to 64 bytes, all bits set: NaN as f32, f16 and bf16.
class aligned_bytes {
public:
  explicit aligned_bytes(std::size_t n = 0) : store_(n + 64, std::byte{0xFF}) {
    void* p = store_.data();
    std::size_t space = store_.size();
    data_ = static_cast<std::byte*>(std::align(64, n, p, space));
  }
  std::byte* data() noexcept { return data_; }
  aligned_bytes(aligned_bytes&&) noexcept = default;
  aligned_bytes& operator=(aligned_bytes&&) noexcept = default;
  aligned_bytes(const aligned_bytes&) = delete;
  aligned_bytes& operator=(const aligned_bytes&) = delete;
  ~aligned_bytes() = default;

private:
  std::vector<std::byte> store_;
  std::byte* data_ = nullptr;
};

inline dtype raw_dtype(form x) {
  return x == form::f32 ? dtype::f32 : x == form::f16 ? dtype::f16 : dtype::bf16;
}

/// Element i of an array of `type`, rounded to nearest.
inline void put(std::byte* p, dtype type, std::size_t i, float x) {
  if (type == dtype::f32)
    reinterpret_cast<float*>(p)[i] = x;
  else
    reinterpret_cast<std::uint16_t*>(p)[i] =
        type == dtype::f16 ? gpu::detail::f16_from_f32(x) : gpu::detail::bf16_from_f32(x);
}

/// A contiguous tensor of the engine.
struct tensor {
  aligned_bytes memory;
  gpu::tensor_ref ref;
};

inline tensor empty_tensor(dtype type, std::size_t rows, std::size_t heads, std::size_t dim,
                           layout order = layout::nhd) {
  tensor t{aligned_bytes(rows * heads * dim * size_of(type)), {}};
  const bool nhd = order == layout::nhd;
  t.ref = {t.memory.data(), type, nhd ? heads * dim : dim, nhd ? dim : rows * dim};
  return t;
}

inline tensor random_tensor(std::mt19937_64& rng, dtype type, std::size_t rows, std::size_t heads,
                            std::size_t dim, float sigma = 1, layout order = layout::nhd) {
  tensor t = empty_tensor(type, rows, heads, dim, order);
  std::normal_distribution<float> normal(0, sigma);
  for (std::size_t i = 0; i < rows * heads * dim; ++i)
    put(t.memory.data(), type, i, normal(rng));
  return t;
}

/// Pages that own their memory, and their summaries once made.
struct page_set {
  std::vector<aligned_bytes> memory;
  std::vector<aligned_bytes> summaries;
  std::vector<gpu::page_view> views;

  /// A page of a raw form with `tokens` random entries from position `first` on.
  void add(std::mt19937_64& rng, const gpu::cache_dims& dims, form stored, std::size_t tokens,
           std::size_t first, float sigma = 1) {
    const gpu::page_layout lay = gpu::layout_of(dims, stored);
    std::byte* data = memory.emplace_back(lay.page_bytes).data();
    std::normal_distribution<float> normal(0, sigma);
    for (std::size_t h = 0; h < dims.kv_heads; ++h)
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t c = 0; c < dims.head_dim; ++c) {
          std::byte* head = data + h * lay.head_bytes;
          put(head + lay.k_offset, raw_dtype(stored), c * dims.page_tokens + t, normal(rng));
          put(head + lay.v_offset, raw_dtype(stored), t * dims.head_dim + c, normal(rng));
        }
    gpu::page_view v;
    v.data = data;
    v.first_position = static_cast<std::uint32_t>(first);
    v.tokens = static_cast<std::uint16_t>(tokens);
    v.stored = stored;
    views.push_back(v);
  }

  /// Replaces the pages by their encodings.
  std::vector<gpu::codec_error> encode(const gpu::cache_dims& dims, form target) {
    std::vector<aligned_bytes> encoded;
    std::vector<std::byte*> out;
    for (std::size_t i = 0; i < views.size(); ++i)
      out.push_back(encoded.emplace_back(gpu::layout_of(dims, target).page_bytes).data());
    std::vector<gpu::codec_error> errors(views.size());
    gpu::serial_executor exec;
    gpu::host_kernels().encode({dims, target, views, out, errors}, exec);
    memory = std::move(encoded);
    for (std::size_t i = 0; i < views.size(); ++i) {
      views[i].data = out[i];
      views[i].stored = target;
    }
    return errors;
  }

  void summarise(const gpu::cache_dims& dims, std::uint8_t parts) {
    std::vector<std::byte*> out;
    for (std::size_t i = 0; i < views.size(); ++i)
      out.push_back(summaries.emplace_back(gpu::summary_layout_of(dims, parts).bytes).data());
    gpu::serial_executor exec;
    gpu::host_kernels().summarise({dims, parts, views, out}, exec);
    for (std::size_t i = 0; i < views.size(); ++i) {
      views[i].summary = out[i];
      views[i].summary_parts = parts;
    }
  }
};

} // namespace pikv::test
