// SPDX-License-Identifier: Apache-2.0
// Identity: pages stay as they were appended.
#include <pikv/policies/compression/compression_policy.hpp>

namespace pikv::policies {

namespace {

class identity final : public compression_policy {
public:
  bool keeps_raw() const noexcept override { return true; }
  form choose(const page_facts&, form raw) const noexcept override { return raw; }
};

} // namespace

table_entry<compression_policy> identity_compression() {
  return {{"identity", "pages stay raw", {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<compression_policy> {
            return std::make_unique<identity>();
          }};
}

} // namespace pikv::policies
