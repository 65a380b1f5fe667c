// SPDX-License-Identifier: Apache-2.0
/// \file
/// The way from a cache to the graph behind it, for tests that kill actors and for tools that look
/// inside. Not part of the public face.
#pragma once

#include <pikv/actors/cache_impl.hpp>

namespace pikv {

struct cache_access {
  static cache_context& context(const cache& x) noexcept { return x.impl_->context(); }
};

} // namespace pikv
