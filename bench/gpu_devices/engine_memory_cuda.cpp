// SPDX-License-Identifier: Apache-2.0
#include "engine_memory.hpp"

#include "device_memory.hpp"

namespace pikv::bench {

std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::size_t bytes) {
  if (!on_gpu)
    return {new std::byte[bytes](), std::default_delete<std::byte[]>{}};
  auto owner = std::make_shared<device_memory>(bytes);
  return {owner, owner->as()};
}

std::shared_ptr<std::byte> engine_memory(bool on_gpu, std::span<const std::uint16_t> values) {
  auto out = engine_memory(on_gpu, values.size_bytes());
  if (on_gpu)
    require(cudaMemcpy(out.get(), values.data(), values.size_bytes(), cudaMemcpyDefault),
            "cudaMemcpy");
  else
    std::ranges::copy(std::as_bytes(values), out.get());
  return out;
}

} // namespace pikv::bench
