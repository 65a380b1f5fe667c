// SPDX-License-Identifier: Apache-2.0
/// \file
/// From what the owners of all devices report to what a client is told.
#pragma once

#include <span>

#include <pikv/actors/cache.hpp>
#include <pikv/messages/protocol.hpp>

namespace pikv {

/// `owners[d]` is what device d reported.
cache_usage usage_of(std::span<const owner_usage> owners);

} // namespace pikv
