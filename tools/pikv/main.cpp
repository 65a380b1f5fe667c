// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include <cstdio>
#include <exception>

#include <fmt/format.h>

namespace pikv::tools {

int fail(const error& x) {
  fmt::print(stderr, "pikv: {}\n", to_string(x));
  return exit_failed;
}

int fail_at(const error& x) {
  fmt::print(stderr, "{}\n", x.what);
  return exit_failed;
}

namespace {

constexpr auto description = "PiKV keeps the KV cache of Mixture-of-Experts models.";

std::string footer() {
  std::string text = "Start with:\n"
                     "  pikv plan --model mixtral-8x7b --gpus 8   what a cache costs, in bytes\n"
                     "  pikv policies selection                   what a query may read\n"
                     "  pikv config default > pikv.yaml           every key, with comments\n";
#ifdef PIKV_HAS_EXAMPLES
  text += "  pikv demo                                 what policies cost on a small model\n"
          "  pikv eval --list                          all of them, for tables and pictures\n";
#else
  text += "\nThis build has no `pikv demo`: configure with -DPIKV_BUILD_EXAMPLES=ON to get it.\n";
#endif
  return text;
}

int run(int argc, char** argv) {
  int code = 0;
  CLI::App app{description, "pikv"};
  app.require_subcommand(1);
  app.footer(footer());
  add_version(app, code);
  add_policies(app, code);
  add_config(app, code);
  add_plan(app, code);
  add_replay(app, code);
#ifdef PIKV_HAS_EXAMPLES
  add_demo(app, code);
  add_eval(app, code);
#endif
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : exit_usage;
  }
  return code;
}

} // namespace

} // namespace pikv::tools

int main(int argc, char** argv) {
  try {
    return pikv::tools::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pikv: %s\n", e.what());
    return pikv::tools::exit_failed;
  }
}
