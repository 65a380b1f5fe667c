// SPDX-License-Identifier: Apache-2.0
/// \file
/// pikv::error inside CAF's error type and back: the kind is the code, the sentence the context.
#pragma once

#include <caf/error.hpp>

#include <pikv/messages/error.hpp>

namespace pikv {

/// For `deliver` and for returning from a handler.
caf::error to_caf(const error& x);

/// Errors of CAF itself (a dead actor, a time-out) become actor_down or deadline_exceeded; `what`
/// says what was being asked for.
error from_caf(const caf::error& x, const char* what);

} // namespace pikv
