// SPDX-License-Identifier: Apache-2.0
#include "decode_engine.hpp"
#include "must.hpp"
#include "sections.hpp"

namespace pikv::bench {

namespace {

constexpr std::uint32_t steps = 15;

decode_options options_of(int gpus, std::uint32_t batch, std::uint32_t layers) {
  decode_options o;
  o.shape.layers = layers;
  o.batch = batch;
  o.chunk = 32768 / batch; // 32k tokens an append
  o.devices = static_cast<std::uint32_t>(gpus);
  o.actor_threads = 4;
  o.tune = [](config::settings& s) { s.cache.shards = 8; };
  return o;
}

double layer_us(const decode_options& o, const std::string& trace = {}) {
  decode_engine x{o};
  x.fill();
  const double us = x.layer_us(true, steps);
  if (!trace.empty())
    x.trace(trace);
  return us;
}

} // namespace

void measure_decode(int gpus, std::uint32_t batch, std::uint32_t layers, const std::string& trace,
                    report& out) {
  out.section(fmt::format("Decode of {} x 32k, {} layers, append included; the engine's stream waits",
                          batch, layers));
  double one = 0, last = 0;
  for (int g = 1; g <= gpus; g *= 2) {
    last = layer_us(options_of(g, batch, layers), g == gpus ? trace : std::string{});
    if (g == 1)
      one = last;
    out.add("one layer, the same batch", g, last, "us");
  }
  out.add("strong scaling: one GPU's time over it", gpus, one / last, "times");
  const double weak = layer_us(options_of(gpus, batch * static_cast<std::uint32_t>(gpus), layers));
  out.add(fmt::format("one layer, {} sequences for each GPU", batch), gpus, weak, "us");
  out.add("weak scaling: one GPU's time over it", gpus, one / weak, "of one");
}

void measure_routes(int gpus, const std::string& trace, report& out) {
  out.section("Reading less: 8 x 32k, 4 layers, 8 shards; the engine's stream waits");
  struct way {
    const char *name, *placement, *routing, *selection;
  };
  double all = 0;
  for (const auto& w :
       {way{"all pages", "stripe", "all", "all"},
        way{"2 of 8 shards by gate, placed by gate", "gate", "gate_top_k", "all"},
        way{"2 of 8 shards by gate, placed in turn", "stripe", "gate_top_k", "all"},
        way{"2 of 8 shards by mass, placed by gate", "gate", "mass", "all"},
        way{"2 of 8 shards by mass, placed in turn", "stripe", "mass", "all"},
        way{"2,048 tokens by mass per KV head, placed by gate", "gate", "all", "mass"},
        way{"2,048 tokens by mass per KV head, placed in turn", "stripe", "all", "mass"}}) {
    auto o = options_of(gpus, 8, 4);
    o.shape.experts = 8;
    o.spare = 2; // gates are not even
    o.tune = [w](config::settings& s) {
      s.cache.shards = 8;
      s.placement.name = w.placement;
      s.routing.name = w.routing;
      if (s.routing.name != "all")
        s.routing.options.set("k", std::int64_t{2});
      s.selection.name = w.selection;
      if (s.selection.name == "all")
        return;
      s.selection.options.set("heads", std::string{"per_kv_head"});
      s.selection.options.set("pages", std::int64_t{128});
    };
    const bool last = w.placement == std::string_view{"stripe"} && w.selection == std::string_view{"mass"};
    const double us = layer_us(o, last ? trace : std::string{});
    if (all == 0)
      all = us;
    out.add(w.name, gpus, us, "us");
    out.add(fmt::format("{}: over all pages", w.name), gpus, us / all, "times");
  }
}

} // namespace pikv::bench
