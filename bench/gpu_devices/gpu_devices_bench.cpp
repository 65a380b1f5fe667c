// SPDX-License-Identifier: Apache-2.0
// Memory per logical device: a long context of Mixtral-8x7B's geometry spread over many devices,
// measured device by device and compared with what `pikv plan` says. Exits with 1 where a device
// holds more or less than that by over 1%, or has more free slots in started slabs than the plan
// and passing pages explain (placement stripe; the plan knows no gates).
//
//   gpu_devices_bench --backend cuda [--devices 16 --context 131072 --json devices.json]
#include <unistd.h>

#include <cmath>
#include <fstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "device_table.hpp"

namespace {

using namespace pikv::bench;

constexpr double allowed_percent = 1;

void add_options(CLI::App& app, fill_options& o, std::string& json) {
  const auto number = [&app](const char* name, std::uint32_t& x, const char* help) {
    app.add_option(name, x, help)->check(CLI::PositiveNumber)->capture_default_str();
  };
  const auto name = [&app](const char* flag, std::string& x, const char* help,
                           std::vector<std::string> allowed) {
    app.add_option(flag, x, help)->check(CLI::IsMember(std::move(allowed)))->capture_default_str();
  };
  name("--backend", o.backend, "Where pages lie", {"host", "cuda"});
  name("--placement", o.placement, "What spreads pages", {"stripe", "gate"});
  name("--selection", o.selection, "What summaries are for", {"none", "mass", "quest"});
  name("--form", o.stored, "Form of settled pages", {"bf16", "int8", "int4", "fp8"});
  number("--devices", o.devices, "Logical devices");
  number("--layers", o.layers, "Layers");
  number("--context", o.context, "Tokens of each sequence");
  number("--batch", o.batch, "Sequences");
  number("--chunk", o.chunk, "Tokens of one append to one sequence");
  number("--in-flight", o.in_flight, "Appends under way at once");
  app.add_option("--memory", o.memory_bytes, "Bytes of a device; none given: from the plan");
  app.add_option("--json", json, "Also write everything to this file");
}

/// The exit code.
int judge(const fill_options& o, const filled_cache& x, const std::vector<device_row>& rows) {
  fmt::print("Fullest device over the mean: {:.3f}\n", imbalance(rows));
  if (x.usage.pages_evicted > 0) {
    fmt::print("{} pages were evicted: nothing to compare\n", x.usage.pages_evicted);
    return 1;
  }
  if (o.placement != "stripe")
    return 0;
  int code = 0;
  for (const auto& row : rows) {
    if (row.wastes()) {
      fmt::print("Device {} has {} bytes of free slots; the plan allows {} and {} for pages that "
                 "pass through\n",
                 row.measured.device.value, row.measured.free_bytes, row.planned.free_cells,
                 row.passing);
      code = 1;
    }
    if (std::abs(row.off_percent()) > allowed_percent) {
      fmt::print("Device {} is {:+.2f}% off the plan; allowed: {}%\n", row.measured.device.value,
                 row.off_percent(), allowed_percent);
      code = 1;
    }
  }
  return code;
}

} // namespace

int main(int argc, char** argv) {
  fill_options o;
  std::string json;
  CLI::App app{"Memory per logical device, measured and planned"};
  add_options(app, o, json);
  CLI11_PARSE(app, argc, argv);
  alarm(580); // a hang ends
  const auto x = fill(o);
  const auto rows = rows_of(o, x.usage);
  fmt::print("{} layers, 32/8 heads of 128, {} sequence(s) of {} tokens, {}, pages of 16, {} devices "
             "of {} MiB ({}), placement {}\n",
             o.layers, o.batch, o.context, o.stored, o.devices, x.memory_bytes >> 20, o.backend,
             o.placement);
  fmt::print("Filled in {:.1f} s in appends of {} tokens, {} under way; one dense cache: {} bytes\n",
             x.fill_seconds, o.chunk, o.in_flight, dense_bytes(o));
  fmt::print("{}", table_text(o, rows));
  if (!json.empty() && !(std::ofstream{json} << table_json(o, x, rows)).flush()) {
    fmt::print(stderr, "cannot write {}\n", json);
    return 1;
  }
  return judge(o, x, rows);
}
