// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/compression/compression_policy.hpp>

#include "support.hpp"

namespace pikv::policies::testing {
namespace {

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& x : compression_table())
    out.push_back(x.info.name);
  return out;
}

class compression_contract : public ::testing::TestWithParam<std::string> {};

TEST_P(compression_contract, chooses_a_form_that_depends_on_its_arguments_only) {
  const auto policy = must_make(compression_table(), GetParam());
  for (const auto raw : {form::f32, form::f16, form::bf16}) {
    const auto first = policy->choose({}, raw);
    EXPECT_EQ(policy->choose({}, raw), first);
    EXPECT_TRUE(first == raw || !is_raw(first));
  }
}

INSTANTIATE_TEST_SUITE_P(every, compression_contract, ::testing::ValuesIn(names()),
                         [](const auto& x) { return x.param; });

TEST(identity_compression, keeps_the_raw_form) {
  const auto policy = must_make(compression_table(), "identity");
  EXPECT_TRUE(policy->keeps_raw());
  EXPECT_EQ(policy->choose({}, form::bf16), form::bf16);
}

TEST(int8_compression, chooses_int8) {
  const auto policy = must_make(compression_table(), "int8");
  EXPECT_FALSE(policy->keeps_raw());
  EXPECT_EQ(policy->choose({}, form::f16), form::int8);
}

TEST(int4_compression, chooses_int4) {
  const auto policy = must_make(compression_table(), "int4");
  EXPECT_FALSE(policy->keeps_raw());
  EXPECT_EQ(policy->choose({}, form::f32), form::int4);
}

TEST(int3_compression, chooses_int3) {
  EXPECT_EQ(must_make(compression_table(), "int3")->choose({}, form::f16), form::int3);
}

TEST(int2_compression, chooses_int2) {
  EXPECT_EQ(must_make(compression_table(), "int2")->choose({}, form::f16), form::int2);
}

result<std::unique_ptr<compression_policy>> make_mixed(std::int64_t k_bits, std::int64_t v_bits) {
  policy_choice x{"mixed", {}};
  x.options.set("k_bits", k_bits);
  x.options.set("v_bits", v_bits);
  return make(compression_table(), x, {});
}

TEST(mixed_compression, keeps_k_in_four_or_three_bits_and_v_in_two) {
  EXPECT_EQ((*make_mixed(4, 2))->choose({}, form::f16), form::k4v2);
  EXPECT_EQ((*make_mixed(3, 2))->choose({}, form::f16), form::k3v2);
}

TEST(mixed_compression, refuses_other_pairs) {
  for (const auto& [k, v] : {std::pair{2, 2}, {5, 2}, {4, 3}, {4, 4}, {3, 1}})
    EXPECT_FALSE(make_mixed(k, v)) << k << v;
}

TEST(fp8_compression, chooses_fp8) {
  const auto policy = must_make(compression_table(), "fp8");
  EXPECT_FALSE(policy->keeps_raw());
  EXPECT_EQ(policy->choose({}, form::bf16), form::fp8);
}

} // namespace
} // namespace pikv::policies::testing
