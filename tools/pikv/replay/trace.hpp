// SPDX-License-Identifier: Apache-2.0
/// \file
/// A trace of requests for blocks of a KV cache (pages, or a serving engine's prefix blocks), and
/// the readers of its formats.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/messages/error.hpp>
#include <pikv/messages/key_facts.hpp>

namespace pikv::tools {

/// Requests in order of time; request i uses `block[begin[i]] ... block[begin[i + 1] - 1]`, in
/// order of position, each once. Optional facts are empty where the trace has none.
struct trace {
  std::string name;
  std::uint32_t block_tokens = 16;
  /// A block is of use only if all before it in the request are there: prefix caches. Else each
  /// block counts by itself: pages.
  bool prefix = true;
  std::uint32_t blocks = 0; ///< distinct; ids are below
  std::vector<std::uint64_t> begin{0};
  std::vector<std::uint32_t> block;
  std::vector<std::uint32_t> position;    ///< per use: index of the block in its sequence
  std::vector<std::uint32_t> last_tokens; ///< per request: tokens in its last block
  std::vector<std::uint16_t> tag;         ///< per request: class of its blocks (page_uses.hpp)
  std::vector<double> mass;               ///< per use: attention mass, or empty
  std::vector<double> expected;           ///< per use: expected attention, or empty
  std::vector<key_facts> keys;            ///< per block, or empty

  std::size_t requests() const noexcept { return begin.size() - 1; }
  std::size_t uses() const noexcept { return block.size(); }
  std::span<const std::uint32_t> request(std::size_t i) const noexcept {
    return std::span{block}.subspan(begin[i], begin[i + 1] - begin[i]);
  }
};

/// The class of a request by the length of its answer: floor(log2(1 + tokens)).
std::uint16_t tag_of_answer(std::uint64_t tokens) noexcept;

struct trace_options {
  std::uint32_t block_tokens = 512; ///< Mooncake's; Azure: what requests are cut into
  std::uint32_t step_tokens = 16;   ///< Azure: tokens generated between two reads of a request
  double token_seconds = 0.03;      ///< Azure: time to generate one
};

/// Reads a file of any of these formats, told apart by their first line:
///  - Mooncake JSONL: {"timestamp", "input_length", "output_length", "hash_ids"} per request;
///  prefix.
///  - PiKV page trace (JSONL): docs/scheduling.md; prefix or pages as its first line says.
///  - Azure CSV: TIMESTAMP,ContextTokens,GeneratedTokens; no contents, so no two requests share a
///    block: while a request generates, all its pages are read every `step_tokens` tokens; pages.
/// errc::io_failed with file and line when it cannot be read.
result<trace> read_trace(const std::string& path, const trace_options& options);

// One format each; `text` is the whole file, `name` is for messages.
result<trace> parse_jsonl(std::string_view text, const std::string& name,
                          const trace_options& options);
result<trace> parse_azure(std::string_view text, const std::string& name,
                          const trace_options& options);

/// The tick (request index) of each use's next use of the same block, page_record::never if none.
std::vector<std::uint64_t> next_uses(const trace& x);

} // namespace pikv::tools
