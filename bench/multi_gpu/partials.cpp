// SPDX-License-Identifier: Apache-2.0
// One sequence group of 8 rows, 32/8 heads of 128. Attention over tokens that lie on another GPU can
// be had in two ways: the query goes there and a partial comes back, or the tokens come here. By
// bytes (q and partial 16.5 KB a row in bf16 and f32, K and V 4 KB a token) they cross at 4 tokens;
// here by time.
#include <cmath>
#include <numeric>

#include <pikv/gpu/cuda/attend.hpp>
#include <pikv/gpu/cuda/merge.hpp>

#include "gpu_streams.hpp"
#include "must.hpp"
#include "pool.hpp"
#include "sections.hpp"

namespace pikv::bench {

namespace {

constexpr gpu::cache_dims dims{32, 8, 128, 16};
constexpr std::uint32_t most_tokens = 16384;

void must_launch(const result<void>& x) {
  if (!x)
    stop(x.error());
}

std::size_t partial_floats(std::uint32_t rows) {
  return std::size_t{rows} * dims.query_heads * dims.head_dim;
}

/// Pages of one sequence on one GPU and what an attention over them needs.
struct store {
  int gpu;
  std::size_t page_bytes = gpu::layout_of(dims, form::bf16).page_bytes;
  device_memory pool, workspace;
  std::vector<device_memory> kept;

  explicit store(int id)
      : gpu(id), pool((cudaSetDevice(id), most_tokens / dims.page_tokens * page_bytes)),
        workspace(gpu::cuda::attend_workspace_bytes().value()) {
    must_launch(gpu::cuda::attend_prepare(dims));
    fill_pages(pool.as(), most_tokens / dims.page_tokens, dims, form::bf16, nullptr);
    require(cudaDeviceSynchronize(), "fill");
  }

  /// The last of `tokens` tokens is that of the one row.
  gpu::cuda::attend_launch attention(std::uint32_t tokens, const std::byte* q, float* out,
                                     float* lse) {
    const on_gpu here(gpu);
    std::vector<gpu::page_view> views;
    for (std::uint32_t at = 0; at < tokens; at += dims.page_tokens) {
      gpu::page_view v;
      v.data = pool.as() + at / dims.page_tokens * page_bytes;
      v.first_position = at;
      v.tokens = static_cast<std::uint16_t>(std::min(dims.page_tokens, tokens - at));
      v.stored = form::bf16;
      views.push_back(v);
    }
    const auto* table = kept.emplace_back(views).as<gpu::page_view>();
    const std::vector<gpu::cuda::attend_sequence> sequence{
        {table, nullptr, static_cast<std::uint32_t>(views.size()), 0, 0, 1, tokens - 1, 0}};
    gpu::cuda::attend_launch a;
    a.dims = dims;
    a.scale = 1 / std::sqrt(static_cast<float>(dims.head_dim));
    a.q = {const_cast<std::byte*>(q), dtype::bf16, dims.query_heads * dims.head_dim, dims.head_dim};
    a.out = {reinterpret_cast<std::byte*>(out), dtype::f32, dims.query_heads * dims.head_dim,
             dims.head_dim};
    a.lse = lse;
    a.sequences = kept.emplace_back(sequence).as<gpu::cuda::attend_sequence>();
    a.sequence_count = a.rows = 1;
    a.workspace = workspace.as();
    return a;
  }
};

/// Partials of `gpus` devices for 8 rows, in the memory of GPU 0, merged there.
double merge_us(int gpus, const gpu_stream& home) {
  const on_gpu here(home.gpu);
  constexpr std::uint32_t rows = 8;
  const auto n = partial_floats(rows);
  std::vector<device_memory> memory;
  std::vector<const float*> outs, lses;
  for (int g = 0; g < gpus; ++g) {
    outs.push_back(memory.emplace_back(n * sizeof(float)).as<float>());
    lses.push_back(memory.emplace_back(n / dims.head_dim * sizeof(float)).as<float>());
  }
  const device_memory out_list(outs), lse_list(lses), out(n * 2);
  const gpu::cuda::merge_launch merge{
      dims,
      rows,
      static_cast<std::uint32_t>(gpus),
      out_list.as<const float*>(),
      lse_list.as<const float*>(),
      {out.as(), dtype::bf16, dims.query_heads * dims.head_dim, dims.head_dim},
      nullptr};
  return time_calls(home, [&] { must_launch(gpu::cuda::merge(merge, home.stream)); });
}

} // namespace

void measure_partials(int gpus, report& out) {
  out.section("Queries and partials against moving KV: one row, 32/8 heads of 128, bf16");
  connect_all(gpus);
  const gpu_stream home(0), away(1);
  out.add("merge of the partials of 8 rows", gpus, merge_us(gpus, home), "us", target{25});
  store here(0), there(1);
  require(cudaSetDevice(0), "cudaSetDevice");
  const auto row = partial_floats(1);
  const device_memory q(row * 2), out_there(row * sizeof(float)), lse_there(4096),
      out_here(row * sizeof(float)), lse_here(4096), merged(row * 2);
  fill_bf16(q.as(), row, 7, home.stream);
  const std::vector<const float*> outs{out_here.as<float>(), out_there.as<float>()},
      lses{lse_here.as<float>(), lse_there.as<float>()};
  const device_memory out_list(outs), lse_list(lses);
  const gpu::cuda::merge_launch merge{
      dims,
      1,
      2,
      out_list.as<const float*>(),
      lse_list.as<const float*>(),
      {merged.as(), dtype::bf16, dims.query_heads * dims.head_dim, dims.head_dim},
      nullptr};
  std::uint32_t crossed = 0;
  for (std::uint32_t tokens = 1; tokens <= most_tokens; tokens *= 4) {
    // What lies here is attended to in either case: 16 tokens stand for it.
    const auto own = here.attention(16, q.as(), out_here.as<float>(), lse_here.as<float>());
    const auto remote = there.attention(tokens, q.as(), out_there.as<float>(), lse_there.as<float>());
    const auto whole = here.attention(16 + tokens <= most_tokens ? 16 + tokens : tokens, q.as(),
                                      out_here.as<float>(), lse_here.as<float>());
    const double by_partial = time_calls(home, [&] {
      home.before(away);
      {
        const on_gpu g(away.gpu);
        must_launch(gpu::cuda::attend(remote, away.stream));
      }
      must_launch(gpu::cuda::attend(own, home.stream));
      away.before(home);
      must_launch(gpu::cuda::merge(merge, home.stream));
    });
    const double by_move = time_calls(home, [&] {
      require(cudaMemcpyPeerAsync(here.pool.as(), 0, there.pool.as(), 1,
                                  std::size_t{tokens} * here.page_bytes / dims.page_tokens,
                                  home.stream),
              "copy");
      must_launch(gpu::cuda::attend(whole, home.stream));
    });
    out.add(fmt::format("{} tokens there: query and partial travel", tokens), 2, by_partial, "us");
    out.add(fmt::format("{} tokens there: K and V travel", tokens), 2, by_move, "us");
    if (crossed == 0 && by_partial < by_move)
      crossed = tokens;
  }
  out.add("first of these counts at which moving K and V is slower", 2, crossed, "tokens");
  out.add("by bytes the two cross at", 2, 16.5 / 4, "tokens");
}

} // namespace pikv::bench
