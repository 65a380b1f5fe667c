// SPDX-License-Identifier: Apache-2.0
// The smallest use of PiKV: one sequence, one layer, four tokens appended and attended.
#include <cstdio>
#include <span>
#include <vector>

#include <pikv/actors/runtime.hpp>

namespace {

int fail(const pikv::error& e) {
  std::fprintf(stderr, "%s\n", pikv::to_string(e).c_str());
  return 1;
}

} // namespace

int main() {
  pikv::config::settings settings;
  settings.metrics.enabled = false;
  auto runtime = pikv::runtime::start(settings);
  if (!runtime)
    return fail(runtime.error());
  const pikv::model_shape shape{
      .layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 32, .experts = 0};
  auto cache = runtime->open(shape);
  if (!cache)
    return fail(cache.error());
  const auto sequence = cache->open();
  if (!sequence)
    return fail(sequence.error());

  constexpr std::uint32_t tokens = 4;
  const std::vector<pikv::batch_part> parts{{*sequence, 0, tokens}};
  const std::vector<float> k(tokens * 2 * 32, 0.5F);
  const std::vector<float> v(tokens * 2 * 32, 2.0F);
  const std::vector<float> q(tokens * 4 * 32, 1.0F);
  std::vector<float> out(q.size());

  // Both are on their way at once; the attend sees the append that was made before it. The buffers
  // stay as they are until both have ended.
  const auto appending =
      cache->append(0, parts, pikv::nhd(k, tokens, 2, 32), pikv::nhd(v, tokens, 2, 32));
  const auto attending = cache->attend(0, parts, pikv::nhd(q, tokens, 4, 32),
                                       pikv::nhd(std::span{out}, tokens, 4, 32));
  const auto& appended = appending.wait();
  const auto& attended = attending.wait();
  if (!appended)
    return fail(appended.error());
  if (!attended)
    return fail(attended.error());
  std::printf("appended %llu entries, read %llu of %llu, first output %.1f (all values were 2)\n",
              static_cast<unsigned long long>(appended->entries),
              static_cast<unsigned long long>(attended->entries.read),
              static_cast<unsigned long long>(attended->entries.existing),
              static_cast<double>(out[0]));
  if (const auto closed = cache->close(*sequence).wait(); !closed)
    return fail(closed.error());
  return 0;
}
