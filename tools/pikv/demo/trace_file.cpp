// SPDX-License-Identifier: Apache-2.0
#include "demo/trace_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include <pikv/gpu/trace.hpp>

namespace pikv::tools {

namespace {

error not_written(const std::string& path) {
  return {errc::io_failed,
          fmt::format("cannot write the trace to {}: {}", path, std::strerror(errno))};
}

} // namespace

result<trace_file> trace_file::open(const std::string& path) {
  trace_file x;
  if (path.empty())
    return x;
  errno = 0;
  x.path_ = path;
  x.file_.open(path, std::ios::trunc);
  if (!x.file_)
    return not_written(path);
  gpu::trace::start();
  return x;
}

result<void> trace_file::finish() {
  if (path_.empty())
    return {};
  gpu::trace::stop();
  errno = 0;
  gpu::trace::write(file_);
  file_.close();
  if (!file_)
    return not_written(path_);
  const auto spans = gpu::trace::count();
  fmt::print(stderr, "trace: {} spans in {}\n", spans.kept, path_);
  if (spans.dropped > 0)
    fmt::print(stderr,
               "note: {} later spans found no room in the trace; run fewer rows, windows or "
               "needles\n",
               spans.dropped);
  return {};
}

} // namespace pikv::tools
