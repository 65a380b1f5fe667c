// SPDX-License-Identifier: Apache-2.0
/// \file
/// The file of `pikv demo --trace`.
#pragma once

#include <fstream>
#include <string>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

/// Records a trace from `open` to `finish`; one at a time in a process. Without a path it does
/// nothing.
class trace_file {
public:
  /// Makes or empties the file, so that a path that does not work is known before the work.
  /// Errors: io_failed.
  static result<trace_file> open(const std::string& path);

  /// Writes the file; notes on stderr say where and what is missing. Errors: io_failed.
  result<void> finish();

private:
  std::string path_;
  std::ofstream file_;
};

} // namespace pikv::tools
