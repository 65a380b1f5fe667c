// SPDX-License-Identifier: Apache-2.0
// int8, int4, int3, int2 and mixed: every page is quantised to that many bits, asymmetric (a scale
// and a zero per group): K per channel in groups along the tokens of the page, V per token in
// groups along the channels, because outliers of K sit in few channels and those of V do not (KIVI,
// arXiv 2402.02750). Scales take 32 bits a group: for V 1 bit per value more, for K 2 in pages of
// 16 tokens, 1 of 32, and in pages of 64 half a bit below 4 bits.
#include <pikv/policies/compression/compression_policy.hpp>

namespace pikv::policies {

namespace {

class integers final : public compression_policy {
public:
  explicit integers(form stored) : stored_(stored) {}
  form choose(const page_facts&, form) const noexcept override { return stored_; }

private:
  form stored_;
};

constexpr auto kivi = " per value, K per channel and V per token (KIVI, arXiv 2402.02750)";
constexpr auto host_only = "; backend host only"; // gpu/cuda/held_forms.hpp

template <form Stored>
table_entry<compression_policy> entry(std::string help) {
  return {{std::string{to_string(Stored)}, std::move(help), {}},
          [](const option_set&, const policy_context&) -> std::unique_ptr<compression_policy> {
            return std::make_unique<integers>(Stored);
          }};
}

std::string in_bits(const char* count) { return std::string{count} + " bits" + kivi; }

option_spec bits(std::string name, std::int64_t fallback, double least, double most) {
  return {.name = std::move(name),
          .type = option_type::integer,
          .fallback = fallback,
          .help = "bits per value",
          .min = least,
          .max = most,
          .choices = {}};
}

} // namespace

table_entry<compression_policy> int8_compression() { return entry<form::int8>(in_bits("8")); }
table_entry<compression_policy> int4_compression() { return entry<form::int4>(in_bits("4")); }
table_entry<compression_policy> int3_compression() {
  return entry<form::int3>(in_bits("3") + host_only);
}
table_entry<compression_policy> int2_compression() {
  return entry<form::int2>(in_bits("2") + host_only);
}

table_entry<compression_policy> mixed_compression() {
  return {{"mixed",
           std::string{"K in 4 or 3 and V in 2 bits"} + kivi + host_only,
           {bits("k_bits", 4, 3, 4), bits("v_bits", 2, 2, 2)}},
          [](const option_set& x, const policy_context&) -> std::unique_ptr<compression_policy> {
            return std::make_unique<integers>(x.integer("k_bits") == 4 ? form::k4v2 : form::k3v2);
          }};
}

} // namespace pikv::policies
