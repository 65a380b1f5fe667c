// SPDX-License-Identifier: Apache-2.0
/// \file
/// Writing results.
#pragma once

#include <string>
#include <string_view>

#include <pikv/messages/error.hpp>

namespace pikv::tools {

/// Errors: io_failed, with the path.
result<void> write_file(const std::string& path, std::string_view text);

/// Whether the file can be written, found out before hours of work: makes it when it is not there.
/// An empty path is fine. Errors: io_failed.
result<void> check_writable(const std::string& path);

} // namespace pikv::tools
