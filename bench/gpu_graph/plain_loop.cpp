// SPDX-License-Identifier: Apache-2.0
#include "plain_loop.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include <pikv/gpu/cuda/append.hpp>
#include <pikv/gpu/cuda/attend.hpp>

#include "device_memory.hpp"
#include "pool.hpp"

namespace pikv::bench {

namespace {

constexpr gpu::cache_dims dims{32, 8, 128, 16};
constexpr std::uint32_t most_layers = 4;

void must(const result<void>& x) {
  if (x)
    return;
  std::fprintf(stderr, "%s\n", x.error().what.c_str());
  std::exit(1);
}

class plain_loop {
public:
  explicit plain_loop(const plain_shape& s)
      : shape_(s), layers_(std::min(s.layers, most_layers)), pages_(s.context / dims.page_tokens),
        page_bytes_(gpu::layout_of(dims, form::bf16).page_bytes),
        pool_(std::size_t{layers_} * s.batch * pages_ * page_bytes_),
        workspace_(gpu::cuda::attend_workspace_bytes().value()), q_(bytes_of(dims.query_heads)),
        out_(bytes_of(dims.query_heads)), kv_(bytes_of(dims.kv_heads)),
        lse_(std::size_t{s.batch} * dims.query_heads * sizeof(float)) {
    require(cudaStreamCreate(&stream_), "stream");
    fill_pages(pool_.as(), std::uint64_t{layers_} * s.batch * pages_, dims, form::bf16, stream_);
    fill_bf16(q_.as(), bytes_of(dims.query_heads) / 2, 77, stream_);
    fill_bf16(kv_.as(), bytes_of(dims.kv_heads) / 2, 78, stream_);
    for (std::uint32_t l = 0; l < layers_; ++l)
      add_layer(l);
    require(cudaStreamSynchronize(stream_), "fill");
  }

  double step_us() {
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint32_t l = 0; l < shape_.layers; ++l) {
      must(gpu::cuda::append(appends_[l % layers_], stream_));
      must(gpu::cuda::attend(attends_[l % layers_], stream_));
    }
    require(cudaStreamSynchronize(stream_), "step");
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
        .count();
  }

private:
  std::size_t bytes_of(std::uint32_t heads) const {
    return std::size_t{shape_.batch} * heads * dims.head_dim * 2;
  }

  void add_layer(std::uint32_t layer) {
    std::vector<gpu::page_view> views;
    std::vector<gpu::append_target> targets;
    auto* page = pool_.as() + std::size_t{layer} * shape_.batch * pages_ * page_bytes_;
    for (std::uint32_t s = 0; s < shape_.batch; ++s) {
      for (std::uint32_t p = 0; p < pages_; ++p, page += page_bytes_) {
        gpu::page_view v;
        v.data = page;
        v.first_position = p * dims.page_tokens;
        v.tokens = static_cast<std::uint16_t>(dims.page_tokens);
        v.stored = form::bf16;
        views.push_back(v);
      }
      targets.push_back({page - page_bytes_, s, static_cast<std::uint16_t>(dims.page_tokens - 1)});
    }
    const auto* table = keep(views);
    std::vector<gpu::cuda::attend_sequence> sequences;
    for (std::uint32_t s = 0; s < shape_.batch; ++s)
      sequences.push_back({table + std::size_t{s} * pages_, nullptr, pages_, 0, s, 1,
                           shape_.context - 1, 0});
    const gpu::tensor_ref kv{kv_.as(), dtype::bf16, dims.kv_heads * dims.head_dim, dims.head_dim};
    appends_.push_back({dims, form::bf16, kv, kv, shape_.batch, keep(targets)});
    auto& a = attends_.emplace_back();
    a.dims = dims;
    a.scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
    a.q = {q_.as(), dtype::bf16, dims.query_heads * dims.head_dim, dims.head_dim};
    a.out = {out_.as(), dtype::bf16, dims.query_heads * dims.head_dim, dims.head_dim};
    a.lse = lse_.as<float>();
    a.sequences = keep(sequences);
    a.sequence_count = a.rows = shape_.batch;
    a.workspace = workspace_.as();
  }

  template <class T>
  const T* keep(const std::vector<T>& x) {
    return kept_.emplace_back(x).template as<T>();
  }

  plain_shape shape_;
  std::uint32_t layers_, pages_;
  std::size_t page_bytes_;
  device_memory pool_, workspace_, q_, out_, kv_, lse_;
  std::vector<device_memory> kept_;
  std::vector<gpu::cuda::append_launch> appends_;
  std::vector<gpu::cuda::attend_launch> attends_;
  cudaStream_t stream_ = nullptr;
};

} // namespace

double plain_layer_us(const plain_shape& shape, std::uint32_t steps) {
  plain_loop x{shape};
  std::vector<double> us;
  for (std::uint32_t i = 0; i < steps + 2; ++i)
    if (const double t = x.step_us(); i >= 2)
      us.push_back(t / shape.layers);
  std::ranges::nth_element(us, us.begin() + static_cast<std::ptrdiff_t>(steps / 2));
  return us[steps / 2];
}

} // namespace pikv::bench
