// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/types.hpp>

namespace pikv {

std::string_view to_string(form x) noexcept {
  switch (x) {
  case form::f32: return "f32";
  case form::f16: return "f16";
  case form::bf16: return "bf16";
  case form::int8: return "int8";
  case form::int4: return "int4";
  case form::fp8: return "fp8";
  case form::int3: return "int3";
  case form::int2: return "int2";
  case form::k4v2: return "k4v2";
  case form::k3v2: return "k3v2";
  }
  return "unknown";
}

std::string_view to_string(dtype x) noexcept { return to_string(raw_form(x)); }

std::string_view to_string(layout x) noexcept { return x == layout::nhd ? "nhd" : "hnd"; }

} // namespace pikv
