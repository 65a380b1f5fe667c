// SPDX-License-Identifier: Apache-2.0
// fp8: every page is kept as 8-bit floats, e4m3 with one scale for a head's K and one for its V. A
// float keeps three bits of mantissa down to 1/28,000 of the largest value, so that an outlier costs
// the others nothing; int8 is closer where the values of a group are alike. Halves f16 pages.
#include <pikv/policies/compression/compression_policy.hpp>

namespace pikv::policies {

namespace {

class fp8 final : public compression_policy {
public:
  form choose(const page_facts&, form) const noexcept override { return form::fp8; }
};

} // namespace

table_entry<compression_policy> fp8_compression() {
  return {{"fp8", "8-bit floats (e4m3), one scale per head for K and for V", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<compression_policy> {
            return std::make_unique<fp8>();
          }};
}

} // namespace pikv::policies
