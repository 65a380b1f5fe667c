// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random batches for tests of attention on CUDA: made on the host, copied to device memory.
#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

#include <pikv/gpu/cuda/attend.hpp>

#include "support/attention_reference.hpp"
#include "support/page_fixture.hpp"

namespace pikv::test {

inline void require(cudaError_t code, const char* what) {
  if (code != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code));
}

/// Device memory, or mapped host memory, filled from the host.
class device_bytes {
public:
  device_bytes() = default;
  device_bytes(const void* from, std::size_t n, bool mapped = false) : mapped_(mapped) {
    require(mapped ? cudaHostAlloc(&data_, n + 64, cudaHostAllocMapped)
                   : cudaMalloc(&data_, n + 64),
            "allocation");
    require(cudaMemcpy(data_, from, n, cudaMemcpyDefault), "copy to the device");
  }
  device_bytes(device_bytes&& x) noexcept { *this = std::move(x); }
  device_bytes& operator=(device_bytes&& x) noexcept {
    std::swap(data_, x.data_);
    std::swap(mapped_, x.mapped_);
    return *this;
  }
  ~device_bytes() {
    if (data_ != nullptr && mapped_)
      cudaFreeHost(data_);
    else if (data_ != nullptr)
      cudaFree(data_);
  }
  template <class T = std::byte>
  T* as() const {
    return static_cast<T*>(data_);
  }

private:
  void* data_ = nullptr;
  bool mapped_ = false;
};

template <class T>
device_bytes to_device(const std::vector<T>& x) {
  return {x.data(), x.size() * sizeof(T)};
}

struct attend_options {
  std::vector<form> forms = {form::bf16}; ///< of settled pages, at random
  form window_form = form::bf16;
  dtype rows_type = dtype::f32;
  std::uint32_t head_dim = 128, kv_heads = 2, group = 4, page_tokens = 16;
  std::uint32_t sequences = 3;
  std::uint32_t min_pages = 0, max_pages = 24, max_rows = 1, max_window = 3;
  std::uint32_t scopes = 0; ///< of the selection; 0: none
  bool holes = false, page_lse = false, mapped = false;
  layout order = layout::nhd;
  float sigma = 1;
};

/// One random batch. Slots beyond a page's tokens hold NaN where the form has one.
struct attend_problem {
  attend_options options;
  std::mt19937_64 rng;
  gpu::cache_dims dims;
  std::vector<std::unique_ptr<page_set>> settled, window;
  std::vector<gpu::sequence_rows> sequences;
  std::uint32_t rows = 0, max_rows = 0;
  tensor q, out;
  std::vector<float> lse, page_lse;
  std::vector<std::uint64_t> page_lse_offsets;
  std::vector<std::uint32_t> offsets, pages, always;
  std::vector<gpu::cuda::attend_row> owned;
  gpu::page_selection selection;
  gpu::attend_args args; ///< what the reference reads
  std::vector<device_bytes> memory;
  std::vector<gpu::cuda::attend_sequence> descriptors;
  gpu::cuda::attend_launch launch;

  attend_problem(const attend_options& o, std::uint64_t seed) : options(o), rng(seed) {
    dims = {o.kv_heads * o.group, o.kv_heads, o.head_dim, o.page_tokens};
    for (std::uint32_t i = 0; i < o.sequences; ++i)
      add_sequence();
    make_arguments();
    if (o.scopes > 0)
      select_pages();
    upload();
  }

  std::uint32_t below(std::uint32_t n) {
    return std::uniform_int_distribution<std::uint32_t>(0, n)(rng);
  }

  void add_pages(page_set& set, std::uint32_t& position, std::uint32_t count, bool last_partial) {
    const attend_options& o = options;
    for (std::uint32_t i = count; i > 0; --i) {
      const bool partial = last_partial ? i == 1 : below(7) == 0;
      const std::uint32_t tokens = partial ? 1 + below(o.page_tokens - 1) : o.page_tokens;
      const form stored = last_partial ? o.window_form : o.forms[rng() % o.forms.size()];
      page_set one;
      one.add(rng, dims, is_raw(stored) ? stored : form::f16, tokens, position, o.sigma);
      if (!is_raw(stored))
        one.encode(dims, stored);
      set.memory.push_back(std::move(one.memory[0]));
      set.views.push_back(one.views[0]);
      if (o.holes && !last_partial && below(2) == 0)
        set.views.back().data = nullptr;
      position += tokens;
    }
  }

  void add_sequence() {
    auto& old = *settled.emplace_back(std::make_unique<page_set>());
    auto& recent = *window.emplace_back(std::make_unique<page_set>());
    std::uint32_t position = 0;
    add_pages(old, position, options.min_pages + below(options.max_pages - options.min_pages),
              false);
    add_pages(recent, position, below(options.max_window), true);
    gpu::sequence_rows s;
    s.settled = old.views;
    s.window = recent.views;
    s.row_begin = rows;
    s.row_count = 1 + below(options.max_rows - 1);
    // One row stands behind all entries; several may stand anywhere among them.
    s.first_position = options.max_rows == 1 ? position : below(position + 2);
    rows += s.row_count;
    max_rows = std::max(max_rows, s.row_count);
    sequences.push_back(s);
  }

  void make_arguments() {
    q = random_tensor(rng, options.rows_type, rows, dims.query_heads, dims.head_dim, options.sigma,
                      options.order);
    out = empty_tensor(options.rows_type, rows, dims.query_heads, dims.head_dim, options.order);
    args.dims = dims;
    args.scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
    args.q = q.ref;
    args.out = out.ref;
    args.sequences = sequences;
    lse.assign(rows * dims.query_heads, NAN);
    std::uint64_t floats = 0;
    for (const auto& s : sequences) {
      page_lse_offsets.push_back(floats);
      floats += std::uint64_t{s.row_count} * dims.query_heads * s.settled.size();
    }
    page_lse.assign(floats + 1, NAN);
  }

  void select_pages() {
    offsets.push_back(0);
    for (const auto& s : sequences)
      for (std::uint32_t r = 0; r < s.row_count; ++r) {
        const auto n = static_cast<std::uint32_t>(s.settled.size());
        always.push_back(below(1) == 0 ? n : below(n));
        for (std::uint32_t scope = 0; scope < options.scopes; ++scope) {
          for (std::uint32_t i = 0; i < n; ++i)
            if (rng() % 3 == 0)
              pages.push_back(i);
          offsets.push_back(static_cast<std::uint32_t>(pages.size()));
        }
        owned.push_back({s.row_begin + r, static_cast<std::uint32_t>(&s - sequences.data())});
      }
    pages.push_back(0); // so that the array is never empty
    selection = {options.scopes, offsets, pages, always};
    args.selection = &selection;
  }

  template <class T>
  T* keep(device_bytes x) {
    return memory.emplace_back(std::move(x)).as<T>();
  }

  const gpu::page_view* upload_pages(std::vector<gpu::page_view> views) {
    for (gpu::page_view& v : views)
      if (v.data != nullptr)
        v.data =
            keep<std::byte>({v.data, gpu::layout_of(dims, v.stored).page_bytes, options.mapped});
    return keep<const gpu::page_view>(to_device(views));
  }

  void upload() {
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const gpu::sequence_rows& s = sequences[i];
      descriptors.push_back({upload_pages(settled[i]->views), upload_pages(window[i]->views),
                             static_cast<std::uint32_t>(s.settled.size()),
                             static_cast<std::uint32_t>(s.window.size()), s.row_begin, s.row_count,
                             s.first_position, page_lse_offsets[i]});
    }
    const std::size_t bytes = std::size_t{rows} * dims.query_heads * dims.head_dim * 4;
    launch.dims = dims;
    launch.scale = args.scale;
    launch.q = q.ref;
    launch.q.data = keep<std::byte>({q.memory.data(), bytes / 4 * size_of(options.rows_type)});
    launch.out = out.ref;
    launch.out.data = keep<std::byte>({out.memory.data(), bytes / 4 * size_of(options.rows_type)});
    launch.sequences = keep<gpu::cuda::attend_sequence>(to_device(descriptors));
    launch.sequence_count = static_cast<std::uint32_t>(sequences.size());
    launch.rows = rows;
    launch.max_sequence_rows = max_rows;
    launch.lse = keep<float>(to_device(lse));
    if (options.page_lse)
      launch.page_lse = keep<float>(to_device(page_lse));
    if (options.scopes > 0) {
      launch.selected = true;
      launch.selection = {options.scopes, keep<std::uint32_t>(to_device(offsets)),
                          keep<std::uint32_t>(to_device(pages)),
                          keep<std::uint32_t>(to_device(always)),
                          keep<gpu::cuda::attend_row>(to_device(owned)),
                          static_cast<std::uint32_t>(owned.size())};
    }
    const std::vector<std::byte> zero(gpu::cuda::attend_workspace_bytes().value());
    launch.workspace = keep<std::byte>(to_device(zero));
  }

  /// Launches once and brings the results back. Outputs are poisoned before.
  void run() {
    const std::size_t out_bytes =
        std::size_t{rows} * dims.query_heads * dims.head_dim * size_of(options.rows_type);
    require(cudaMemset(launch.out.data, 0xFF, out_bytes), "poison");
    require(cudaMemset(launch.lse, 0xFF, lse.size() * 4), "poison");
    if (launch.page_lse != nullptr)
      require(cudaMemset(launch.page_lse, 0xFF, page_lse.size() * 4), "poison");
    const auto done = gpu::cuda::attend(launch, nullptr);
    if (!done)
      throw std::runtime_error(done.error().what);
    require(cudaDeviceSynchronize(), "attend");
    fetch();
  }

  void fetch() {
    const std::size_t out_bytes =
        std::size_t{rows} * dims.query_heads * dims.head_dim * size_of(options.rows_type);
    require(cudaMemcpy(out.memory.data(), launch.out.data, out_bytes, cudaMemcpyDefault), "out");
    require(cudaMemcpy(lse.data(), launch.lse, lse.size() * 4, cudaMemcpyDefault), "lse");
    if (launch.page_lse != nullptr)
      require(cudaMemcpy(page_lse.data(), launch.page_lse, page_lse.size() * 4, cudaMemcpyDefault),
              "page lse");
  }
};

} // namespace pikv::test
