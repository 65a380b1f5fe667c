// SPDX-License-Identifier: Apache-2.0
/// \file
/// Finds the demo's model and text.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

struct demo_files {
  std::string model; ///< folder with config.json and model.safetensors
  std::string text;
};

/// Where the model is looked for when none is named, first match wins:
///   1. ./examples/tiny_moe               in the current directory
///   2. ../share/pikv/tiny_moe            beside the folder of the executable (installed)
///   3. examples/tiny_moe                 of the source tree that this was built from
std::vector<std::filesystem::path> model_places();

/// The named folder, or the first of `places` that has a config.json; the named text, or
/// eval_text.txt of that folder. Errors: io_failed, with all places that were tried.
result<demo_files> locate(const std::string& model, const std::string& text,
                          std::span<const std::filesystem::path> places);

} // namespace pikv::tools
