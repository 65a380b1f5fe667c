// SPDX-License-Identifier: Apache-2.0
// pikv config: checks, shows and documents configurations.
#include "command.hpp"

#include <memory>

#include <fmt/format.h>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv::tools {

namespace {

int check_file(const std::string& file) {
  const auto loaded = config::load(file, policies::catalog());
  if (!loaded)
    return fail_at(loaded.error());
  fmt::print("{}: ok\n", file);
  return 0;
}

int show(const std::string& file) {
  const auto catalog = policies::catalog();
  const auto loaded = file.empty() ? config::parse("", catalog) : config::load(file, catalog);
  if (!loaded)
    return fail_at(loaded.error());
  fmt::print("{}", config::to_yaml(*loaded, catalog, false));
  return 0;
}

int print_default() {
  fmt::print("{}", config::to_yaml(config::settings{}, policies::catalog(), true));
  return 0;
}

int print_reference() {
  fmt::print("{}", config::reference(policies::catalog()));
  return 0;
}

void add_check(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("check", "Says what is wrong with a file (exit code 1) or ok (0)");
  sub->footer("Example:\n  pikv config check pikv.yaml");
  auto file = std::make_shared<std::string>();
  sub->add_option("FILE", *file, "YAML file")->required();
  sub->callback([file, &code] { code = check_file(*file); });
}

void add_show(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("show", "Every setting in force with this file, as YAML");
  sub->footer("Examples:\n"
              "  pikv config show pikv.yaml   the file's settings and the defaults of the others\n"
              "  pikv config show             the defaults");
  auto file = std::make_shared<std::string>();
  sub->add_option("FILE", *file, "YAML file; none: the defaults");
  sub->callback([file, &code] { code = show(*file); });
}

} // namespace

void add_config(CLI::App& app, int& code) {
  auto* sub = app.add_subcommand("config", "Checks, shows, documents and applies configurations");
  sub->require_subcommand(1);
  sub->footer("Example:\n"
              "  pikv config default > pikv.yaml && pikv config check pikv.yaml");
  add_check(*sub, code);
  add_show(*sub, code);
  auto* fallback =
      sub->add_subcommand("default", "A file with every key, its default and a comment");
  fallback->footer("Example:\n  pikv config default > pikv.yaml");
  fallback->callback([&code] { code = print_default(); });
  auto* reference = sub->add_subcommand("reference", "Every key and policy as a Markdown page");
  reference->footer("Example:\n  pikv config reference > reference.md");
  reference->callback([&code] { code = print_reference(); });
  add_config_remote(*sub, code);
}

} // namespace pikv::tools
