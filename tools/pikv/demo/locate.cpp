// SPDX-License-Identifier: Apache-2.0
#include "demo/locate.hpp"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

namespace pikv::tools {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& x) {
  std::error_code ignored;
  return fs::exists(x, ignored);
}

bool is_model(const fs::path& folder) { return is_there(folder / "config.json"); }

error no_model(std::span<const fs::path> places) {
  std::string tried;
  for (const auto& place : places)
    tried += fmt::format("\n  {}", place.string());
  return {errc::io_failed,
          fmt::format("no model was found; name a folder with config.json and model.safetensors by "
                      "--model DIR. Tried:{}",
                      tried)};
}

} // namespace

std::vector<fs::path> model_places() {
  std::vector<fs::path> out{fs::path{"examples"} / "tiny_moe"};
  std::error_code failed;
  const auto self = fs::read_symlink("/proc/self/exe", failed);
  if (!failed)
    out.push_back(self.parent_path().parent_path() / "share" / "pikv" / "tiny_moe");
  out.push_back(fs::path{PIKV_SOURCE_DIR} / "examples" / "tiny_moe");
  return out;
}

result<demo_files> locate(const std::string& model, const std::string& text,
                          std::span<const fs::path> places) {
  fs::path folder{model};
  if (model.empty()) {
    const auto found = std::ranges::find_if(places, is_model);
    if (found == places.end())
      return no_model(places);
    folder = *found;
  } else if (!is_model(folder)) {
    return {errc::io_failed,
            fmt::format("{} has no config.json; --model takes a folder with config.json and "
                        "model.safetensors",
                        model)};
  }
  const auto words = text.empty() ? folder / "eval_text.txt" : fs::path{text};
  if (!is_there(words))
    return {errc::io_failed,
            fmt::format("there is no text {}; name one by --text FILE", words.string())};
  return demo_files{folder.string(), words.string()};
}

} // namespace pikv::tools
