// SPDX-License-Identifier: Apache-2.0
#include "attend_report.hpp"

#include <cstdio>

namespace pikv::bench {

double over_bf16(const std::vector<measurement>& all, const measurement& x) {
  for (const measurement& y : all)
    if (y.stored == form::bf16 && y.shape == x.shape)
      return y.us / x.us;
  return 0;
}

void print(const measurement& x, double over_bf16) {
  std::printf("%-11s %-5s %9.1f us %7.1f MB %5.2f TB/s  roof %8.1f us  of roof %4.2f"
              "  of scattered %4.2f  over bf16 %4.2f\n",
              x.shape.c_str(), std::string(to_string(x.stored)).c_str(), x.us, x.bytes / 1e6,
              x.bytes / x.us / 1e6, x.roof_us, x.roof_us / x.us, x.scattered_us / x.us, over_bf16);
}

void write_json(const char* path, const std::vector<measurement>& results, const char* gpu,
                int driver) {
  std::FILE* f = std::fopen(path, "w");
  if (f == nullptr) {
    std::fprintf(stderr, "%s cannot be written\n", path);
    return;
  }
  std::fprintf(f, "{\"gpu\": \"%s\", \"driver_cuda\": %d, \"attend\": [\n", gpu, driver);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const measurement& m = results[i];
    std::fprintf(f,
                 "  {\"shape\": \"%s\", \"form\": \"%s\", \"us\": %.3f, \"bytes\": %.0f, "
                 "\"roof_us\": %.3f, \"of_roof\": %.4f, \"scattered_us\": %.3f, "
                 "\"over_bf16\": %.4f}%s\n",
                 m.shape.c_str(), std::string(to_string(m.stored)).c_str(), m.us, m.bytes,
                 m.roof_us, m.roof_us / m.us, m.scattered_us, over_bf16(results, m),
                 i + 1 < results.size() ? "," : "");
  }
  std::fprintf(f, "]}\n");
  std::fclose(f);
}

} // namespace pikv::bench
