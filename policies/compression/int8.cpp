// SPDX-License-Identifier: Apache-2.0
// int8: every page is quantised to 8 bits, asymmetric (a scale and a zero per group): K per channel
// in groups along the tokens of the page, V per token in groups along the channels, because
// outliers of K sit in few channels and those of V do not (KIVI, arXiv 2402.02750). Halves f16
// pages, scales apart.
#include <pikv/policies/compression/compression_policy.hpp>

namespace pikv::policies {

namespace {

class int8 final : public compression_policy {
public:
  form choose(const page_facts&, form) const noexcept override { return form::int8; }
};

} // namespace

table_entry<compression_policy> int8_compression() {
  return {{"int8", "8 bits per value, K per channel and V per token", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<compression_policy> {
            return std::make_unique<int8>();
          }};
}

} // namespace pikv::policies
