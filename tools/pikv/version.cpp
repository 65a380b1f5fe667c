// SPDX-License-Identifier: Apache-2.0
// pikv version: what this build is and what it runs on.
#include "command.hpp"

#include "cuda_info.hpp"

#include <string>

#include <caf/config.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/host/kernels.hpp>

namespace pikv::tools {

namespace {

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}", __clang_version__);
#else
  return fmt::format("gcc {}", __VERSION__);
#endif
}

void line(std::string_view key, std::string_view value) { fmt::print("{:<12}{}\n", key, value); }

int run() {
  fmt::print("pikv {}\n", PIKV_VERSION);
  line("build", PIKV_BUILD_TYPE);
  line("compiler", compiler());
  line("backends", fmt::format("{}", fmt::join(gpu::backends(), ", ")));
  line("simd", gpu::host_simd_target());
  for (const auto& text : cuda_lines())
    line("cuda", text);
#ifdef PIKV_HAS_NCCL
  line("nccl", "built with");
#else
  line("nccl", "built without");
#endif
  line("caf",
       fmt::format("{}.{}.{}", CAF_VERSION / 10000, CAF_VERSION / 100 % 100, CAF_VERSION % 100));
#ifdef PIKV_HAS_EXAMPLES
  line("demo", "built with");
#else
  line("demo", "built without (PIKV_BUILD_EXAMPLES is off)");
#endif
  return 0;
}

} // namespace

void add_version(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("version", "What this build is: compiler, SIMD, backends, CUDA");
  sub->footer("Example:\n  pikv version");
  sub->callback([&code] { code = run(); });
}

} // namespace pikv::tools
