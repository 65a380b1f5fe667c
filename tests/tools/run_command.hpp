// SPDX-License-Identifier: Apache-2.0
/// \file
/// Runs bin/pikv as a user would.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <sys/wait.h>

namespace pikv::tools {

struct command_outcome {
  int code = -1; ///< exit code; -1: it did not run or died of a signal
  std::string out;
  std::string err;
};

/// Runs `pikv ARGUMENTS` through the shell, standard error kept apart.
inline command_outcome run_pikv(const std::string& arguments) {
  std::string name = std::filesystem::temp_directory_path() / "pikv_command_XXXXXX";
  const int file = mkstemp(name.data());
  if (file < 0)
    return {};
  const std::string line = std::string{PIKV_COMMAND " "} + arguments + " 2>" + name;
  command_outcome x;
  const auto read_all = [](std::FILE* from, std::string& to) {
    std::array<char, 4096> buffer{};
    while (const auto n = std::fread(buffer.data(), 1, buffer.size(), from))
      to.append(buffer.data(), n);
  };
  if (std::FILE* pipe = popen(line.c_str(), "r")) {
    read_all(pipe, x.out);
    const int status = pclose(pipe);
    x.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  if (std::FILE* errors = fdopen(file, "r")) {
    read_all(errors, x.err);
    std::fclose(errors);
  }
  std::remove(name.c_str());
  return x;
}

} // namespace pikv::tools
