// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random batches for the kernel table's choice of pages: real pages with summaries, and the
/// problem that the reference of selections (select_problem.hpp) knows, with scores of the host.
#pragma once

#include <cmath>
#include <memory>

#include <pikv/gpu/cuda/cuda_device.hpp>
#include <pikv/gpu/cuda/launch_queue.hpp>

#include "gpu/cuda/select_problem.hpp"

namespace pikv::test {

/// Mapped host memory; all bits set.
template <class T>
class mapped_array {
public:
  explicit mapped_array(std::size_t n) : size_(n) {
    expect_cuda(
        cudaHostAlloc(reinterpret_cast<void**>(&data_), (n + 1) * sizeof(T), cudaHostAllocMapped));
    std::memset(static_cast<void*>(data_), 0xFF, (n + 1) * sizeof(T));
  }
  mapped_array(const mapped_array&) = delete;
  mapped_array& operator=(const mapped_array&) = delete;
  ~mapped_array() { cudaFreeHost(data_); }
  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  const T& operator[](std::size_t i) const { return data_[i]; }

private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A test with a compute queue of GPU 0.
class queue_test : public gpu_test {
protected:
  void SetUp() override {
    gpu_test::SetUp();
    if (IsSkipped())
      return;
    auto made = gpu::cuda::launch_queue::make(0, gpu::stream_role::compute);
    ASSERT_TRUE(made.ok()) << made.error().what;
    queue = *made;
  }
  std::shared_ptr<gpu::cuda::launch_queue> queue;
};

struct choose_options {
  select_options select;
  gpu::score_kind score = gpu::score_kind::mass;
  bool unowned = false; ///< some rows of the batch belong to no sequence
};

struct choose_problem {
  gpu::score_kind score;
  std::mt19937_64 rng;
  select_problem p;
  std::vector<std::unique_ptr<page_set>> settled, window;
  std::vector<std::unique_ptr<device_pages>> settled_on_device, window_on_device;
  std::vector<gpu::sequence_rows> sequences; ///< with device addresses
  std::vector<bool> owned;                   ///< by row
  tensor q;
  std::unique_ptr<device_tensor> q_on_device;

  choose_problem(const choose_options& o, std::uint64_t seed)
      : score(o.score), rng(seed), p{.o = o.select,
                                     .pages = {},
                                     .sequences = {},
                                     .scores = {},
                                     .mass = {},
                                     .gates = {},
                                     .known = {}} {
    p.o.scored = o.score != gpu::score_kind::none;
    for (std::uint32_t s = 0; s < p.o.sequences; ++s) {
      skip_rows(o.unowned ? between(rng, 0, 2) : 0);
      add_sequence();
    }
    skip_rows(o.unowned ? 2 : 0);
    const auto& d = p.o.dims;
    q = random_tensor(rng, dtype::f16, p.rows, d.query_heads, d.head_dim);
    q_on_device =
        std::make_unique<device_tensor>(q, std::size_t{p.rows} * d.query_heads * d.head_dim);
    for (std::uint32_t i = 0; i < p.rows * p.o.experts; ++i)
      p.gates.push_back(0.25F * static_cast<float>(between(rng, 0, 8)));
    for (std::uint32_t i = 0; i < p.rows; ++i)
      p.known.push_back(between(rng, 0, 4) > 0 ? 1 : 0);
    p.mass = host_scores(gpu::score_kind::mass);
    p.scores = host_scores(score);
  }

  float scale() const { return 1 / std::sqrt(static_cast<float>(p.o.dims.head_dim)); }

  gpu::choose_args args() const {
    gpu::choose_args a;
    a.dims = p.o.dims;
    a.scale = scale();
    a.q = q_on_device->ref;
    a.sequences = sequences;
    a.rows = p.rows;
    a.window = p.o.window;
    a.shards = p.o.shards;
    a.experts = p.o.experts;
    a.route = {p.o.route, p.o.k};
    a.gate_logits = p.gates.data();
    a.gate_known = p.known.data();
    a.score = score;
    a.budget = p.o.budget;
    a.scopes = p.o.scopes;
    a.capacity = p.o.capacity;
    return a;
  }

private:
  void skip_rows(std::uint32_t n) {
    owned.resize(owned.size() + n, false);
    p.rows += n;
  }

  void add_sequence() {
    const auto& o = p.o;
    auto& old = *settled.emplace_back(std::make_unique<page_set>());
    auto& recent = *window.emplace_back(std::make_unique<page_set>());
    const std::uint32_t n = between(rng, 0, o.max_pages);
    for (std::uint32_t i = 0; i < n; ++i) {
      const auto missing = i % 7 == 3 ? i % 5 : 0; // a few pages are not full
      old.add(rng, o.dims, form::f16, o.dims.page_tokens - missing, i * o.dims.page_tokens);
    }
    old.summarise(o.dims, gpu::summary_mean_var | gpu::summary_min_max);
    for (auto& v : old.views) {
      v.shard = {between(rng, 0, o.shards - 1) % 5}; // some shards stay empty
      if (o.gone && between(rng, 0, 7) == 0)
        v.data = nullptr;
    }
    recent.add(rng, o.dims, form::f16, between(rng, 1, o.dims.page_tokens), n * o.dims.page_tokens);
    gpu::cuda::attend_sequence x;
    x.settled_count = n;
    x.row_begin = p.rows;
    x.row_count = between(rng, 1, o.max_rows);
    x.first_position = n * o.dims.page_tokens + between(rng, 0, 20);
    if (!p.sequences.empty()) {
      const auto& last = p.sequences.back();
      x.page_lse_offset = last.page_lse_offset
                          + std::uint64_t{last.row_count} * o.dims.query_heads * last.settled_count;
    }
    p.pages.push_back(old.views);
    p.sequences.push_back(x);
    p.rows += x.row_count;
    p.max_rows = std::max(p.max_rows, x.row_count);
    p.max_pages = std::max(p.max_pages, n);
    owned.resize(p.rows, true);
    const auto& a =
        *settled_on_device.emplace_back(std::make_unique<device_pages>(o.dims, old.views));
    const auto& b =
        *window_on_device.emplace_back(std::make_unique<device_pages>(o.dims, recent.views));
    sequences.push_back({a.views, b.views, x.row_begin, x.row_count, x.first_position});
  }

  std::vector<float> host_scores(gpu::score_kind kind) const {
    std::vector<gpu::sequence_rows> rows = sequences;
    std::vector<std::uint64_t> offsets;
    std::size_t floats = 0;
    for (std::size_t s = 0; s < rows.size(); ++s) {
      rows[s].settled = p.pages[s];
      rows[s].window = {};
      offsets.push_back(p.sequences[s].page_lse_offset);
      floats = offsets.back()
               + std::size_t{rows[s].row_count} * p.o.dims.query_heads * rows[s].settled.size();
    }
    std::vector<float> out(floats, -INFINITY);
    gpu::serial_executor exec;
    if (kind != gpu::score_kind::none)
      gpu::host_kernels().score({p.o.dims, kind, scale(), q.ref, rows, out.data(), offsets}, exec);
    return out;
  }
};

} // namespace pikv::test
