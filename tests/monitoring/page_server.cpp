// SPDX-License-Identifier: Apache-2.0
// Something for the built-in page to show: a small cache under load. Prints its port, ends with its
// standard input.
//
//   page_server TOKEN_FILE
#include <poll.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <pikv/actors/runtime.hpp>

namespace {

using namespace pikv;

constexpr model_shape shape{2, 8, 2, 32, 0};
constexpr std::uint32_t sequences = 4, chunk = 16, longest = 2048;

template <class T>
T must(result<T> x) {
  if (!x) {
    std::fprintf(stderr, "%s\n", x.error().what.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>)
    return std::move(*x);
}

config::settings settings(const char* token_file) {
  config::settings s;
  s.devices.count = 2;
  s.devices.memory_bytes = std::uint64_t{64} << 20;
  s.devices.scratch_bytes = std::uint64_t{16} << 20;
  s.cache.shards = 8;
  s.selection = {"mass", {}};
  s.selection.options.set("share", 0.25);
  s.compression = {"int8", {}};
  s.budget.options.set("tokens", std::int64_t{1024});
  s.ghosts.policies = "lru, h2o";
  s.fidelity.audit_share = 0.05;
  s.metrics.port = 0;
  s.metrics.admin_token_file = token_file;
  return s;
}

/// True once standard input has ended.
bool ended() {
  pollfd in{0, POLLIN, 0};
  char x = 0;
  return ::poll(&in, 1, 0) > 0 && std::fread(&x, 1, 1, stdin) == 0;
}

/// Appends a chunk to each sequence and attends to it, layer by layer.
void step(cache& c, const std::vector<sequence_id>& all, std::uint32_t at, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> kv(std::size_t{chunk} * shape.kv_heads * shape.head_dim);
  std::vector<float> q(std::size_t{chunk} * shape.query_heads * shape.head_dim), out(q.size());
  for (const auto sequence : all)
    for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
      for (auto* values : {&kv, &q})
        for (auto& x : *values)
          x = normal(rng);
      const std::vector<batch_part> part{{sequence, at, chunk}};
      const auto rows = nhd(std::as_const(kv), chunk, shape.kv_heads, shape.head_dim);
      must(c.append(layer, part, rows, rows).wait());
      must(c.attend(layer, part, nhd(std::as_const(q), chunk, shape.query_heads, shape.head_dim),
                    nhd(out, chunk, shape.query_heads, shape.head_dim))
               .wait());
    }
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2)
    return 2;
  auto r = must(runtime::start(settings(argv[1])));
  auto c = must(r.open(shape));
  std::printf("%u\n", static_cast<unsigned>(r.status().metrics_port));
  std::fflush(stdout);
  std::mt19937 rng{1};
  while (!ended()) {
    std::vector<sequence_id> all;
    for (std::uint32_t i = 0; i < sequences; ++i)
      all.push_back(must(c.open()));
    for (std::uint32_t at = 0; at < longest && !ended(); at += chunk)
      step(c, all, at, rng);
    for (const auto x : all)
      must(c.close(x).wait());
  }
}
