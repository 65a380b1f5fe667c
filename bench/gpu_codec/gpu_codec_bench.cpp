// SPDX-License-Identifier: Apache-2.0
// Times of the CUDA kernels other than attention, next to a device copy of as many bytes.
// gpu_codec_bench [append|codec|select|reductions|copies ...] [--json file]
#include <unistd.h>

#include <cstdio>
#include <set>
#include <string>

#include "cases.hpp"
#include "timing.hpp"

int main(int argc, char** argv) {
  alarm(240); // a hang ends
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device: nothing was measured");
    return 77;
  }
  std::set<std::string> chosen;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--json" && i + 1 < argc)
      json = argv[++i];
    else
      chosen.insert(argv[i]);
  }
  const auto wants = [&](const char* name) { return chosen.empty() || chosen.contains(name); };
  pikv::bench::print_header();
  if (wants("append"))
    pikv::bench::bench_append();
  if (wants("codec"))
    pikv::bench::bench_codec();
  if (wants("select"))
    pikv::bench::bench_select();
  if (wants("reductions"))
    pikv::bench::bench_reductions();
  if (wants("copies"))
    pikv::bench::bench_copies();
  if (!json.empty())
    pikv::bench::write_json(json);
}
