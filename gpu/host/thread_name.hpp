// SPDX-License-Identifier: Apache-2.0
/// \file
/// Names of threads as debuggers and `top -H` show them.
#pragma once

#include <string>

#include <pthread.h>

namespace pikv::gpu::detail {

/// Linux keeps 15 characters.
inline void name_this_thread(const std::string& name) noexcept {
  char short_name[16] = {};
  name.copy(short_name, sizeof short_name - 1);
  pthread_setname_np(pthread_self(), short_name);
}

} // namespace pikv::gpu::detail
