// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads a safetensors file: 8 bytes of header length (little endian), a JSON header that gives
/// each tensor's dtype, shape and range of bytes, then the bytes.
/// Format: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv::moe_engine {

/// A file whose header holds: every range lies inside the data, ranges neither overlap nor leave
/// gaps, and shapes agree with them. Immutable.
class tensor_file {
public:
  /// Errors: errc::io_failed when it cannot be read, errc::model_file when it is malformed.
  static result<tensor_file> open(const std::string& path);
  /// The same from memory; `name` stands in errors.
  static result<tensor_file> parse(std::vector<std::uint8_t> bytes, std::string name);

  bool has(const std::string& tensor) const { return entries_.contains(tensor); }

  /// A tensor of the given shape, widened to f32. Errors: errc::model_file when it is missing, has
  /// another shape, or is neither BF16, F16 nor F32.
  result<std::vector<float>> read(const std::string& tensor,
                                  const std::vector<std::size_t>& shape) const;

private:
  struct entry {
    std::string type;
    std::vector<std::size_t> shape;
    std::size_t begin = 0; // in bytes_
    std::size_t end = 0;
  };
  result<void> check_ranges(std::size_t data_begin) const;

  std::string name_;
  std::vector<std::uint8_t> bytes_;
  std::map<std::string, entry> entries_;
};

} // namespace pikv::moe_engine
