// SPDX-License-Identifier: Apache-2.0
/// \file
/// The work of a decode step on the layers of a model, as tasks for streams: append, attention, the
/// encoding of settled pages, and copies of encoded pages to the host. 32 query and 8 KV heads, 128
/// channels, bf16, pages of 16 tokens that lie at random in their layer's memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include <pikv/gpu/device.hpp>
#include <pikv/gpu/kernels.hpp>

#include "device_memory.hpp"
#include "must.hpp"

namespace pikv::bench {

inline constexpr gpu::cache_dims dims{32, 8, 128, 16};

struct pipeline_sizes {
  std::uint32_t layers = 32;
  std::uint32_t sequences = 8;      ///< that attend, one row each
  std::uint32_t context = 8192;     ///< tokens of each
  std::uint32_t rows = 64;          ///< appended to each layer
  std::uint32_t encode_pages = 512; ///< of each layer, the pages appended to among them
  std::uint32_t copy_pages = 96;    ///< of those, copied to the host

  std::uint32_t pages() const { return sequences * (context / dims.page_tokens); } ///< of a layer
  std::size_t host_bytes() const; ///< that the copies need
};

/// Memory and descriptors of all layers. The functions enqueue one task each, which uses this
/// object; a task that fails ends the program.
class layers {
public:
  layers(gpu::device& device, const pipeline_sizes& sizes);

  void append(gpu::stream& s, std::uint32_t layer);
  void attend(gpu::stream& s, std::uint32_t layer);
  void encode(gpu::stream& s, std::uint32_t layer);
  void copy(gpu::stream& s, std::uint32_t layer);

  /// Makes the appended rows zeros again, encodes them and forgets what was copied. Blocks.
  void blank(gpu::stream& s);
  /// What lies in the host's memory.
  std::span<const std::byte> copied() const { return {host_.data(), host_.bytes()}; }

private:
  struct layer {
    device_memory pages, encoded;
    std::vector<gpu::append_target> targets;
    std::vector<gpu::page_view> views; ///< in the order of the sequences
    std::vector<gpu::sequence_rows> sequences;
    std::vector<std::byte*> encode_to;
    std::vector<gpu::copy_item> copies;
  };
  layer make_layer(std::span<const std::uint32_t> order, std::byte* host) const;
  void append_rows(gpu::stream& s, std::uint32_t l, const device_memory& rows);

  const pipeline_sizes sizes_;
  const gpu::kernel_table& kernels_;
  gpu::block host_;
  device_memory rows_, blank_rows_, q_, out_, lse_, errors_;
  std::vector<layer> layers_;
};

/// Ends the program with the error's text.
/// The completion of tasks that must not fail.
void must_end(const result<void>& r);

/// Milliseconds from before `enqueue` to the end of all work of `streams`.
double milliseconds(std::initializer_list<gpu::stream*> streams,
                    const std::function<void()>& enqueue);

double median(std::vector<double> x);

} // namespace pikv::bench
