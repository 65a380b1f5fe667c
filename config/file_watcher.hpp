// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tells when a file changed or the process got SIGHUP (libuv, on a thread of its own).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <pikv/messages/error.hpp>

namespace pikv::config {

/// Editors replace files and write them in pieces: changes are seen by polling the file's status
/// and reported once it has been quiet for a moment (about half a second after the write).
class file_watcher {
public:
  class impl;

  /// `changed` is called on the watcher's thread; it must be short and must not throw. While a
  /// watcher lives, SIGHUP does not end the process. Errors: io_failed.
  static result<file_watcher> start(const std::string& path, std::function<void()> changed);

  file_watcher(file_watcher&&) noexcept;
  file_watcher& operator=(file_watcher&&) noexcept;
  ~file_watcher(); ///< stops; `changed` is not called any more afterwards

private:
  explicit file_watcher(std::unique_ptr<impl> x) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace pikv::config
