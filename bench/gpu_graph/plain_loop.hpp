// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the actor graph is compared with: the same append and attention kernels of a decode step,
/// launched from a loop on one stream, with descriptors that were laid out before.
#pragma once

#include <cstdint>

namespace pikv::bench {

struct plain_shape {
  std::uint32_t layers = 32, batch = 8, context = 32768;
};

/// Median microseconds of one layer of a step, of `steps` steps. The bytes of at most four layers are
/// there; longer steps go round them, so that nothing is read from the GPU's cache.
double plain_layer_us(const plain_shape& shape, std::uint32_t steps);

} // namespace pikv::bench
