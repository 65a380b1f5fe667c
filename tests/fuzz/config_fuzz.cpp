// SPDX-License-Identifier: Apache-2.0
// Any text is a configuration or refused with a sentence; what is taken is valid, and its YAML
// reads back to the same settings.
#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pikv;
  using fuzz::expect;
  static const auto catalog = policies::catalog();
  const auto x = config::parse(fuzz::text_of(data, size), catalog, "f");
  if (!x) {
    const auto code = x.code();
    expect(code == errc::config_syntax || code == errc::config_key || code == errc::config_value,
           x.error().what);
    expect(x.error().what.starts_with("f:"), "an error names its file and line");
    return 0;
  }
  const auto valid = config::validate(*x, catalog);
  expect(valid.ok(), valid ? "" : valid.error().what);
  const auto text = config::to_yaml(*x, catalog, size % 2 == 0);
  const auto y = config::parse(text, catalog, "f");
  expect(y.ok(), y ? "" : y.error().what);
  expect(config::changed_keys(*x, *y).empty(), "what is printed reads back to the same");
  expect(config::to_yaml(*y, catalog, size % 2 == 0) == text, "and prints the same");
  return 0;
}
