// SPDX-License-Identifier: Apache-2.0
/// \file
/// The smallest engine: appends three tokens, attends with a query that weighs all keys the same,
/// and expects the mean of the values.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <pikv/actors/cache.hpp>
#include <pikv/actors/runtime.hpp>

namespace {

constexpr std::uint32_t tokens = 3;
constexpr std::uint32_t query_heads = 4;
constexpr std::uint32_t kv_heads = 2;
constexpr std::uint32_t dim = 32;

[[noreturn]] void fail(const char* step, const pikv::error& e) {
  std::fprintf(stderr, "%s: %s\n", step, pikv::to_string(e).c_str());
  std::exit(1);
}

} // namespace

int main() {
  pikv::config::settings settings;
  settings.metrics.enabled = false;
  settings.cache.stored = pikv::dtype::f32;
  settings.devices.memory_bytes = std::uint64_t{64} << 20;
  settings.devices.scratch_bytes = std::uint64_t{16} << 20;
  auto runtime = pikv::runtime::start(settings);
  if (!runtime)
    fail("start", runtime.error());
  auto cache = runtime->open({.layers = 1,
                              .query_heads = query_heads,
                              .kv_heads = kv_heads,
                              .head_dim = dim,
                              .experts = 0});
  if (!cache)
    fail("open", cache.error());
  const auto sequence = cache->open();
  if (!sequence)
    fail("open a sequence", sequence.error());

  std::vector<float> k(tokens * kv_heads * dim, 1.0F);
  std::vector<float> v(k.size());
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(i);
  const std::vector<pikv::batch_part> part{{*sequence, 0, tokens}};
  const auto appended =
      cache->append(0, part, pikv::nhd(std::span<const float>{k}, tokens, kv_heads, dim),
                    pikv::nhd(std::span<const float>{v}, tokens, kv_heads, dim));
  if (!appended.wait())
    fail("append", appended.wait().error());

  const std::vector<float> q(query_heads * dim, 0.5F);
  std::vector<float> out(q.size(), -1.0F);
  const std::vector<pikv::batch_part> last{{*sequence, tokens - 1, 1}};
  const auto attended =
      cache->attend(0, last, pikv::nhd(std::span<const float>{q}, 1, query_heads, dim),
                    pikv::nhd(std::span<float>{out}, 1, query_heads, dim));
  if (!attended.wait())
    fail("attend", attended.wait().error());
  if (!attended.wait()->entries.adds_up()) {
    std::fprintf(stderr, "the accounts do not add up\n");
    return 1;
  }
  for (std::uint32_t h = 0; h < query_heads; ++h) {
    for (std::uint32_t d = 0; d < dim; ++d) {
      const auto row = (h / (query_heads / kv_heads)) * dim + d;
      const float mean = static_cast<float>(row + kv_heads * dim * (tokens - 1) / 2.0);
      if (!(std::abs(out[h * dim + d] - mean) < 1e-3F)) {
        std::fprintf(stderr, "head %u, element %u: %g instead of %g\n", h, d,
                     static_cast<double>(out[h * dim + d]), static_cast<double>(mean));
        return 1;
      }
    }
  }
  std::puts("appended 3 tokens, attended, and got the mean of their values");
}
