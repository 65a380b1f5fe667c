// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/tensor_file.hpp>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <moe_engine/files.hpp>
#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {

namespace {

using nlohmann::json;

constexpr std::size_t length_bytes = 8;
constexpr std::size_t max_header_bytes = 100'000'000; // the format's own limit

/// The JSON header's length, or nothing when it cannot be right.
std::optional<std::size_t> header_length(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < length_bytes; ++i)
    n |= std::uint64_t{bytes[i]} << (8 * i);
  if (n > max_header_bytes || n > bytes.size() - length_bytes)
    return std::nullopt;
  return static_cast<std::size_t>(n);
}

/// A JSON array of non-negative integers.
std::optional<std::vector<std::size_t>> numbers(const json& x) {
  if (!x.is_array())
    return std::nullopt;
  std::vector<std::size_t> out;
  for (const auto& n : x) {
    if (!n.is_number_unsigned())
      return std::nullopt;
    out.push_back(n.get<std::size_t>());
  }
  return out;
}

/// Bytes of an element; 0 for types that the engine does not read and that are only carried along.
std::size_t element_bytes(const std::string& type) {
  return type == "F32" ? 4 : type == "F16" || type == "BF16" ? 2 : 0;
}

/// Bytes of a tensor, or nothing when they do not fit a size.
std::optional<std::size_t> tensor_bytes(const std::vector<std::size_t>& shape,
                                        std::size_t element) {
  auto n = element;
  for (const auto x : shape) {
    if (x != 0 && n > std::numeric_limits<std::size_t>::max() / x)
      return std::nullopt;
    n *= x;
  }
  return n;
}

/// "[80, 256]"
std::string to_text(const std::vector<std::size_t>& shape) {
  std::string out = "[";
  for (const auto n : shape)
    out += (out.size() == 1 ? "" : ", ") + std::to_string(n);
  return out + "]";
}

} // namespace

result<tensor_file> tensor_file::open(const std::string& path) {
  auto bytes = read_bytes(path);
  if (!bytes)
    return bytes.error();
  return parse(std::move(*bytes), path);
}

result<tensor_file> tensor_file::parse(std::vector<std::uint8_t> bytes, std::string name) {
  const auto bad = [&name](std::string_view why) {
    return error{errc::model_file, fmt::format("{}: {}", name, why)};
  };
  if (bytes.size() < length_bytes)
    return bad("shorter than the 8 bytes of its header's length; the file is truncated");
  const auto length = header_length(bytes);
  if (!length)
    return bad("the header's length goes beyond the file; it is truncated or no safetensors file");
  const auto data_begin = length_bytes + *length;
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + length_bytes;
  const auto header = json::parse(text, text + *length, nullptr, false);
  if (!header.is_object())
    return bad("the header is not a JSON object");

  tensor_file file;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__")
      continue;
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string()
        || !value.contains("shape") || !value.contains("data_offsets"))
      return bad(fmt::format("tensor '{}' needs dtype, shape and data_offsets", key));
    const auto shape = numbers(value["shape"]);
    const auto range = numbers(value["data_offsets"]);
    if (!shape || !range || range->size() != 2)
      return bad(fmt::format("tensor '{}' has a malformed shape or data_offsets", key));
    const auto room = bytes.size() - data_begin;
    if ((*range)[0] > (*range)[1] || (*range)[1] > room)
      return bad(fmt::format("tensor '{}' takes bytes {} to {} of {}; the file is truncated or its "
                             "header wrong",
                             key, (*range)[0], (*range)[1], room));
    file.entries_[key] = {value["dtype"].get<std::string>(), *shape, data_begin + (*range)[0],
                          data_begin + (*range)[1]};
  }
  file.name_ = std::move(name);
  file.bytes_ = std::move(bytes);
  if (auto checked = file.check_ranges(data_begin); !checked)
    return checked.error();
  return file;
}

result<void> tensor_file::check_ranges(std::size_t data_begin) const {
  const auto bad = [this](const std::string& tensor, std::string_view why) {
    return error{errc::model_file, fmt::format("{}: tensor '{}' {}", name_, tensor, why)};
  };
  std::vector<const std::pair<const std::string, entry>*> order;
  for (const auto& x : entries_) {
    const auto element = element_bytes(x.second.type);
    if (element != 0 && tensor_bytes(x.second.shape, element) != x.second.end - x.second.begin)
      return bad(x.first,
                 fmt::format("of type {} and shape {} does not take {} bytes", x.second.type,
                             to_text(x.second.shape), x.second.end - x.second.begin));
    order.push_back(&x);
  }
  std::ranges::sort(order, {}, [](auto* x) { return std::pair{x->second.begin, x->second.end}; });
  auto at = data_begin;
  for (const auto* x : order) {
    if (x->second.begin < at)
      return bad(x->first, "overlaps the tensor before it");
    if (x->second.begin > at)
      return bad(x->first, "leaves bytes before it that belong to no tensor");
    at = x->second.end;
  }
  if (at != bytes_.size())
    return {errc::model_file,
            fmt::format("{}: {} bytes at the end belong to no tensor", name_, bytes_.size() - at)};
  return {};
}

result<std::vector<float>> tensor_file::read(const std::string& tensor,
                                             const std::vector<std::size_t>& shape) const {
  const auto bad = [&](std::string_view why) {
    return error{errc::model_file, fmt::format("{}: tensor '{}' {}", name_, tensor, why)};
  };
  const auto found = entries_.find(tensor);
  if (found == entries_.end())
    return bad("is missing");
  const auto& x = found->second;
  if (x.shape != shape)
    return bad(
        fmt::format("has shape {}; config.json asks for {}", to_text(x.shape), to_text(shape)));
  const auto element = element_bytes(x.type);
  if (element == 0)
    return bad(fmt::format("is of type {}; F32, F16 and BF16 can be read", x.type));
  const auto type = x.type == "F32" ? dtype::f32 : x.type == "F16" ? dtype::f16 : dtype::bf16;
  std::vector<float> out((x.end - x.begin) / element);
  widen(type, bytes_.data() + x.begin, out);
  return out;
}

} // namespace pikv::moe_engine
