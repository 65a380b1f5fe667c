// SPDX-License-Identifier: Apache-2.0
// For builds without CUDA.
#include "engine_memory.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace pikv::bench {

std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::size_t bytes) {
  if (on_gpu) {
    std::fprintf(stderr, "this build has no CUDA\n");
    std::exit(1);
  }
  return {new std::byte[bytes](), std::default_delete<std::byte[]>{}};
}

std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::span<const std::uint16_t> values) {
  auto out = engine_memory(on_gpu, values.size_bytes());
  std::memcpy(out.get(), values.data(), values.size_bytes());
  return out;
}

} // namespace pikv::bench
