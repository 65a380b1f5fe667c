// SPDX-License-Identifier: Apache-2.0
// Without waiting: completions call back, and a mistake comes back as a typed error the same way.
#include <atomic>
#include <cstdio>
#include <vector>

#include <pikv/actors/runtime.hpp>

namespace {

int fail(const pikv::error& e) {
  std::fprintf(stderr, "%s\n", pikv::to_string(e).c_str());
  return 1;
}

} // namespace

int main() {
  // Callbacks run on PiKV's threads, so what they touch outlives the runtime, declared after it.
  std::atomic<int> right{0};
  std::atomic<int> pending{2};
  const auto done = [&pending] {
    pending.fetch_sub(1);
    pending.notify_one();
  };

  pikv::config::settings settings;
  settings.metrics.enabled = false;
  auto runtime = pikv::runtime::start(settings);
  if (!runtime)
    return fail(runtime.error());
  auto cache =
      runtime->open({.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 32, .experts = 0});
  if (!cache)
    return fail(cache.error());
  const auto sequence = cache->open();
  if (!sequence)
    return fail(sequence.error());

  const std::vector<float> kv(std::size_t{8} * 2 * 32, 1.0F);
  const auto tensor = pikv::nhd(kv, 8, 2, 32);
  const std::vector<pikv::batch_part> first{{*sequence, 0, 8}};
  cache->append(0, first, tensor, tensor).then([&](const auto& x) {
    right += x.ok() ? 1 : 0;
    done();
  });

  // The sequence has 8 tokens; position 20 leaves a gap. Nothing is appended.
  const std::vector<pikv::batch_part> gap{{*sequence, 20, 8}};
  cache->append(0, gap, tensor, tensor).then([&](const auto& x) {
    right += x.code() == pikv::errc::position_gap ? 1 : 0;
    done();
  });

  for (auto n = pending.load(); n != 0; n = pending.load())
    pending.wait(n);
  std::printf("%d of 2 completions came as expected: 8 entries, then position_gap\n", right.load());
  return right == 2 ? 0 : 1;
}
