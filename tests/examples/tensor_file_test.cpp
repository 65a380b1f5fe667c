// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include <moe_engine/tensor_file.hpp>

namespace pikv::moe_engine {
namespace {

std::vector<std::uint8_t> file_of(const std::string& header, std::size_t data_bytes,
                                  std::uint64_t claimed_length) {
  std::vector<std::uint8_t> out;
  for (int i = 0; i < 8; ++i)
    out.push_back(static_cast<std::uint8_t>(claimed_length >> (8 * i)));
  out.insert(out.end(), header.begin(), header.end());
  for (std::size_t i = 0; i < data_bytes; ++i)
    out.push_back(static_cast<std::uint8_t>(i));
  return out;
}

std::vector<std::uint8_t> file_of(const std::string& header, std::size_t data_bytes) {
  return file_of(header, data_bytes, header.size());
}

std::string f32_pair(const std::string& first, const std::string& second) {
  return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + first
         + R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + second + "}}";
}

struct malformed {
  const char* name;
  std::vector<std::uint8_t> bytes;
  const char* says;
};

class malformed_file : public testing::TestWithParam<malformed> {};

TEST_P(malformed_file, is_refused_with_a_sentence) {
  const auto file = tensor_file::parse(GetParam().bytes, "x.safetensors");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.code(), errc::model_file);
  EXPECT_NE(file.error().what.find("x.safetensors: "), std::string::npos);
  EXPECT_NE(file.error().what.find(GetParam().says), std::string::npos) << file.error().what;
}

const std::string one = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

INSTANTIATE_TEST_SUITE_P(
    tensor_file, malformed_file,
    testing::Values(
        malformed{"empty", {}, "truncated"},
        malformed{"seven_bytes", {1, 0, 0, 0, 0, 0, 0}, "8 bytes"},
        malformed{"length_beyond_file", file_of(one, 8, 1000), "header's length"},
        malformed{"length_all_ones", file_of(one, 8, ~std::uint64_t{0}), "header's length"},
        malformed{"length_too_short", file_of(one, 8, 5), "JSON"},
        malformed{"no_json", file_of("hello", 0), "JSON"},
        malformed{"json_array", file_of("[1]", 0), "JSON object"},
        malformed{"truncated_data", file_of(one, 7), "truncated"},
        malformed{"bytes_left_over", file_of(one, 9), "belong to no tensor"},
        malformed{"overlap", file_of(f32_pair("[0,8]", "[4,12]"), 12), "overlaps"},
        malformed{"gap", file_of(f32_pair("[0,8]", "[9,17]"), 17), "leaves bytes"},
        malformed{"backward_range", file_of(f32_pair("[8,0]", "[0,8]"), 8), "takes bytes"},
        malformed{"range_beyond_file", file_of(f32_pair("[0,8]", "[8,99]"), 16), "takes bytes"},
        malformed{"negative_offset", file_of(f32_pair("[-8,0]", "[0,8]"), 8), "malformed"},
        malformed{"three_offsets", file_of(f32_pair("[0,8,9]", "[8,16]"), 16), "malformed"},
        malformed{"no_dtype", file_of(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), "dtype"},
        malformed{"tensor_is_number", file_of(R"({"a":3})", 0), "needs dtype"},
        malformed{"fractional_shape",
                  file_of(R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", 8),
                  "malformed"},
        malformed{"shape_against_bytes",
                  file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
                  "does not take 8 bytes"},
        malformed{"shape_overflows",
                  file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,2],)"
                          R"("data_offsets":[0,8]}})",
                          8),
                  "does not take 8 bytes"}),
    [](const auto& x) { return x.param.name; });

tensor_file open_ok(const std::string& header, const void* data, std::size_t n) {
  auto bytes = file_of(header, n);
  std::memcpy(bytes.data() + bytes.size() - n, data, n);
  auto file = tensor_file::parse(std::move(bytes), "x");
  EXPECT_TRUE(file.ok());
  return std::move(*file);
}

TEST(tensor_file, f32_comes_unchanged) {
  const float data[] = {1.5F, -2.25F};
  EXPECT_EQ(*open_ok(one, data, 8).read("a", {2}), (std::vector<float>{1.5F, -2.25F}));
}

TEST(tensor_file, bf16_widens_exactly) {
  const std::uint16_t data[] = {0x3FC0, 0xC010};
  const auto file =
      open_ok(R"({"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}})", data, 4);
  EXPECT_EQ(*file.read("a", {1, 2}), (std::vector<float>{1.5F, -2.25F}));
}

TEST(tensor_file, f16_widens_exactly) {
  const std::uint16_t data[] = {0x3E00, 0xC080};
  const auto file = open_ok(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", data, 4);
  EXPECT_EQ(*file.read("a", {2}), (std::vector<float>{1.5F, -2.25F}));
}

TEST(tensor_file, metadata_is_no_tensor) {
  const auto file = open_ok(R"({"__metadata__":{"format":"pt"}})", "", 0);
  EXPECT_FALSE(file.has("__metadata__"));
}

TEST(tensor_file, reading_a_missing_tensor_names_it) {
  const float data[] = {1, 2};
  const auto read = open_ok(one, data, 8).read("lm_head.weight", {2});
  EXPECT_EQ(read.code(), errc::model_file);
  EXPECT_NE(read.error().what.find("'lm_head.weight' is missing"), std::string::npos);
}

TEST(tensor_file, reading_another_shape_is_refused) {
  const float data[] = {1, 2};
  const auto read = open_ok(one, data, 8).read("a", {1, 2});
  EXPECT_EQ(read.code(), errc::model_file);
  EXPECT_NE(read.error().what.find("has shape [2]"), std::string::npos);
}

TEST(tensor_file, reading_integers_is_refused) {
  const std::int64_t data[] = {1};
  const auto file = open_ok(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", data, 8);
  EXPECT_EQ(file.read("a", {1}).code(), errc::model_file);
}

TEST(tensor_file, a_file_that_is_not_there_is_an_io_error) {
  EXPECT_EQ(tensor_file::open("/nonexistent/model.safetensors").code(), errc::io_failed);
}

} // namespace
} // namespace pikv::moe_engine
