// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a fuzzer of this folder is made of: LLVMFuzzerTestOneInput, called with any bytes, aborts
/// through expect() where a promise of the code under test is broken. libFuzzer calls it in the
/// preset fuzz, corpus_main.cpp with the files of the corpus everywhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace pikv::fuzz {

/// Ends the process where `holds` is false, which a fuzzer takes for a crash and keeps the input.
inline void expect(bool holds, std::string_view what) {
  if (holds)
    return;
  std::fprintf(stderr, "broken: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

} // namespace pikv::fuzz
