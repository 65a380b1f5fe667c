// SPDX-License-Identifier: Apache-2.0
// The files that are shipped.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support.hpp"

namespace pikv::config::testing {
namespace {

const std::filesystem::path folder = PIKV_CONFIG_DIR;

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

TEST(default_file, holds_the_defaults) {
  const auto x = load((folder / "default.yaml").string(), all_policies());
  ASSERT_TRUE(x.ok()) << x.error().what;
  EXPECT_TRUE(changed_keys(*x, settings{}).empty());
}

TEST(default_file, is_what_to_yaml_writes) {
  const auto text = text_of(folder / "default.yaml");
  EXPECT_TRUE(text.ends_with("\n\n" + to_yaml({}, all_policies())))
      << "write it anew: pikv config show\n"
      << to_yaml({}, all_policies());
}

TEST(example_files, are_valid_and_not_the_defaults) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "examples")) {
    const auto x = load(entry.path().string(), all_policies());
    ASSERT_TRUE(x.ok()) << x.error().what;
    EXPECT_FALSE(changed_keys(*x, settings{}).empty()) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 2);
}

} // namespace
} // namespace pikv::config::testing
