// SPDX-License-Identifier: Apache-2.0
// Changing the configuration of a running PiKV: taken whole, or refused whole with a reason.
#include <cstdio>

#include <pikv/actors/runtime.hpp>

namespace {

int fail(const pikv::error& e) {
  std::fprintf(stderr, "%s\n", pikv::to_string(e).c_str());
  return 1;
}

} // namespace

int main() {
  pikv::config::settings settings;
  settings.metrics.enabled = false;
  auto runtime = pikv::runtime::start(settings);
  if (!runtime)
    return fail(runtime.error());
  const auto before = runtime->status().config_version;

  // A live key: requests that start from now on run under the new version.
  settings.selection = {"mass", {}};
  const auto live = runtime->reload(settings).wait();
  if (!live)
    return fail(live.error());
  std::printf("version %llu -> %llu, selection '%s'\n", static_cast<unsigned long long>(before),
              static_cast<unsigned long long>(*live), runtime->settings().selection.name.c_str());

  // A key that needs a restart: nothing of this reload is taken.
  settings.cache.page_tokens = 32;
  settings.selection = {"all", {}};
  const auto refused = runtime->reload(settings).wait();
  if (refused) {
    std::fprintf(stderr, "page_tokens changed under running requests\n");
    return 1;
  }
  std::printf("refused: %s\nselection is still '%s'\n", pikv::to_string(refused.error()).c_str(),
              runtime->settings().selection.name.c_str());
  return runtime->settings().selection.name == "mass" ? 0 : 1;
}
