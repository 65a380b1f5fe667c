// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "decode_engine.hpp"
#include "must.hpp"
#include "sections.hpp"

namespace pikv::bench {

namespace {

constexpr std::uint32_t layers = 2;
constexpr model_shape shape{layers, 32, 8, 128, 8};

struct arrangement {
  std::string placement;
  move_path path;
  bool entries = false; ///< cache.granularity
  std::string name() const {
    return placement + (entries ? ", entries" : "") + (path == move_path::nccl ? ", nccl" : "");
  }
};

enum class reads : std::uint8_t { all, route, selection };

decode_options options_of(int gpus, const arrangement& a, reads what) {
  decode_options o;
  o.shape = shape;
  o.batch = 3;
  o.context = o.chunk = 2048;
  o.devices = static_cast<std::uint32_t>(gpus);
  o.spare = 3; // gates are not even
  o.tune = [a, what](config::settings& s) {
    s.cache.shards = 8;
    s.placement.name = a.placement;
    s.transfer.path = a.path;
    s.cache.granularity = a.entries ? config::settle_granularity::entry
                                    : config::settle_granularity::page;
    if (what == reads::route) {
      s.routing.name = "gate_top_k";
      s.routing.options.set("k", std::int64_t{2});
    } else if (what == reads::selection) {
      s.selection.name = "mass";
      s.selection.options.set("heads", std::string{"per_kv_head"});
      s.selection.options.set("share", 0.125);
    }
  };
  return o;
}

/// Softmax attention in float64 over all tokens of the context.
std::vector<float> reference(const decode_engine& x, std::uint32_t context, std::uint32_t batch) {
  const auto q = x.queries();
  const std::size_t dim = shape.head_dim, group = shape.query_heads / shape.kv_heads;
  const std::size_t heads = std::size_t{batch} * shape.query_heads;
  std::vector<double> top(heads, -1e300), sum(heads), out(heads * dim);
  for (std::uint32_t t = 0; t < context; ++t) {
    const auto kv = x.token_at(t);
    for (std::size_t h = 0; h < heads; ++h) {
      const auto* k = kv.data() + (h / shape.query_heads * shape.kv_heads
                                   + h % shape.query_heads / group) * dim;
      double logit = 0;
      for (std::size_t c = 0; c < dim; ++c)
        logit += double{q[h * dim + c]} * k[c];
      logit /= std::sqrt(static_cast<double>(dim));
      const double high = std::max(top[h], logit);
      const double old = std::exp(top[h] - high), weight = std::exp(logit - high);
      sum[h] = sum[h] * old + weight;
      for (std::size_t c = 0; c < dim; ++c)
        out[h * dim + c] = out[h * dim + c] * old + weight * k[c];
      top[h] = high;
    }
  }
  std::vector<float> result(out.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    result[i] = static_cast<float>(out[i] / sum[i / dim]);
  return result;
}

/// Of all values, over the largest of `b`.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(double{a[i]} - b[i]));
    size = std::max(size, std::abs(double{b[i]}));
  }
  return most / size;
}

struct answer {
  std::vector<float> out, expected;
  attend_report report;
};

answer ask(int gpus, const arrangement& a, reads what) {
  const auto o = options_of(gpus, a, what);
  decode_engine x{o};
  x.fill();
  answer r;
  r.out = x.attend(layers - 1, r.report);
  if (what == reads::all)
    r.expected = reference(x, o.context, o.batch);
  return r;
}

void check(int gpus, const arrangement& a, report& out) {
  constexpr double ulp = 0x1p-8; // of bf16 outputs, relative; two roundings may be two apart
  for (const auto& [what, name] : {std::pair{reads::all, "all"}, std::pair{reads::route, "2 of 8 by gate"},
                                  std::pair{reads::selection, "1/8 by mass"}}) {
    const auto one = ask(1, a, what), many = ask(gpus, a, what);
    const auto label = fmt::format("{}: {}", a.name(), name);
    const double apart = difference(many.out, one.out);
    out.add(label + ", off one GPU", gpus, apart, "relative", target{2 * ulp});
    const auto& x = many.report.entries;
    const auto& y = one.report.entries;
    out.require_that(label + ", the same entries read and left out", gpus,
                     x.read == y.read && x.not_routed == y.not_routed
                         && x.not_selected == y.not_selected && x.existing == y.existing);
    out.require_that(label + ", the same output", gpus, apart <= 2 * ulp);
    if (what != reads::all)
      continue;
    const double here = difference(many.out, many.expected), there = difference(one.out, one.expected);
    out.add(label + ", off float64", gpus, here, "relative", target{2 * there + ulp});
    out.require_that(label + ", within twice one GPU's error and an ulp", gpus,
                     here <= 2 * there + ulp);
  }
}

} // namespace

void check_exactness(int gpus, report& out) {
  out.section("Exactness: 3 x 2,048 tokens, layer 1 of 2");
  for (const auto& placement : {"stripe", "gate"})
    for (const auto path : {move_path::automatic, move_path::nccl})
      check(gpus, {placement, path}, out);
  for (const auto& placement : {"stripe", "gate"})
    check(gpus, {placement, move_path::automatic, true}, out);
}

} // namespace pikv::bench
