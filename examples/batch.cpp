// SPDX-License-Identifier: Apache-2.0
// Several sequences of different lengths in one batch: two prompts in one append, then both decode
// a token in one attend.
#include <cstdio>
#include <span>
#include <vector>

#include <pikv/actors/runtime.hpp>

namespace {

constexpr pikv::model_shape shape{
    .layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 32, .experts = 0};

int fail(const pikv::error& e) {
  std::fprintf(stderr, "%s\n", pikv::to_string(e).c_str());
  return 1;
}

/// Appends rows that are all `value` and waits.
pikv::result<pikv::append_report> append(pikv::cache& cache,
                                         const std::vector<pikv::batch_part>& parts, float value) {
  std::uint32_t rows = 0;
  for (const auto& x : parts)
    rows += x.tokens;
  const std::vector<float> kv(std::size_t{rows} * shape.kv_heads * shape.head_dim, value);
  const auto tensor = pikv::nhd(kv, rows, shape.kv_heads, shape.head_dim);
  return cache.append(0, parts, tensor, tensor).wait();
}

} // namespace

int main() {
  pikv::config::settings settings;
  settings.metrics.enabled = false;
  auto runtime = pikv::runtime::start(settings);
  if (!runtime)
    return fail(runtime.error());
  auto cache = runtime->open(shape);
  if (!cache)
    return fail(cache.error());
  const auto a = cache->open();
  const auto b = cache->open();
  if (!a || !b)
    return fail(a ? b.error() : a.error());

  // Rows of a buffer follow the parts: 300 of a, then 40 of b.
  if (auto prompts = append(*cache, {{*a, 0, 300}, {*b, 0, 40}}, 1.0F); !prompts)
    return fail(prompts.error());
  const std::vector<pikv::batch_part> next{{*a, 300, 1}, {*b, 40, 1}};
  if (auto tokens = append(*cache, next, 3.0F); !tokens)
    return fail(tokens.error());

  const std::vector<float> q(std::size_t{2} * shape.query_heads * shape.head_dim, 0.0F);
  std::vector<float> out(q.size());
  const auto attending =
      cache->attend(0, next, pikv::nhd(q, 2, shape.query_heads, shape.head_dim),
                    pikv::nhd(std::span{out}, 2, shape.query_heads, shape.head_dim));
  const auto& attended = attending.wait();
  if (!attended)
    return fail(attended.error());
  // Queries of zeros weigh all entries alike: (300 + 3) / 301 and (40 + 3) / 41.
  std::printf("mean of 301 entries %.4f, of 41 entries %.4f\n", static_cast<double>(out[0]),
              static_cast<double>(out[out.size() / 2]));

  const auto asked = cache->usage();
  const auto& usage = asked.wait();
  if (!usage)
    return fail(usage.error());
  std::printf("%llu sequences, %llu entries, %llu bytes\n",
              static_cast<unsigned long long>(usage->sequences),
              static_cast<unsigned long long>(usage->entries),
              static_cast<unsigned long long>(usage->total_bytes()));
  return 0;
}
