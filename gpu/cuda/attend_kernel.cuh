// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention kernel of one head dim, and its launch.
#pragma once

#include <pikv/gpu/cuda/attend_merge.cuh>
#include <pikv/gpu/cuda/attend_producer.cuh>
#include <pikv/gpu/cuda/chained.cuh>
#include <pikv/gpu/cuda/status.hpp>

namespace pikv::gpu::cuda {

__device__ inline void init_barriers(attend_shared& shared, std::uint32_t arrivals,
                                     std::uint32_t consumers) {
  static_assert(attend_tune.ring_slots <= 32 && attend_tune.segments <= 32);
  if (threadIdx.x < attend_tune.ring_slots) {
    barrier_init(&shared.full[threadIdx.x], arrivals);
    barrier_init(&shared.empty[threadIdx.x], 32);
  }
  if (threadIdx.x < attend_tune.segments) {
    barrier_init(&shared.segment_full[threadIdx.x], 1);
    barrier_init(&shared.segment_empty[threadIdx.x], 32 * consumers);
  }
#if __CUDA_ARCH__ >= 900
  if (threadIdx.x < 32) // by those that initialised only: every warp's fence takes its turn
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

/// A consumer warp's life: segment after segment, and in turn with the others a tile of each. Every
/// lane says for itself that it has read, for lanes of a warp need not run together. The next
/// segment's queries are on their way while the last one ends.
template <int HeadDim, int PageTokens, int ColumnTiles>
__device__ __forceinline__ void consume(const attend_kernel_args& args, attend_shared& shared,
                                        std::uint16_t* queries, float* warps) {
  using consumer_type = attend_consumer<HeadDim, PageTokens, ColumnTiles>;
  consumer_type consumer(args, queries);
  attend_merger<HeadDim, ColumnTiles> merger(args, shared, warps);
  typename consumer_type::queries::part own;
  const std::uint32_t warp = threadIdx.x / 32;
  std::uint32_t next = warp; // of the block's tiles
  std::uint32_t done = 0;    // tiles of earlier segments
  const auto arrived = [&](std::uint32_t i) -> const attend_segment* {
    const std::uint32_t at = i % attend_tune.segments;
    barrier_wait(&shared.segment_full[at], i / attend_tune.segments % 2);
    const attend_segment* s = &shared.segments[at];
    if (s->tiles > 0)
      consumer_type::queries::load(args, *s, own);
    return s;
  };
  const attend_segment* s = arrived(0);
  for (std::uint32_t i = 1; s->tiles > 0; ++i) {
    const std::uint32_t end = done + s->tiles;
    consumer.begin(*s, own);
    merger.arrive();
    for (; next < end; next += consumer_warps<ColumnTiles>) {
      const std::uint32_t slot = next % attend_tune.ring_slots;
      barrier_wait(&shared.full[slot], next / attend_tune.ring_slots % 2);
      consumer.add(shared.tiles[slot]);
      barrier_arrive(&shared.empty[slot]);
    }
    if (args.launch.page_lse != nullptr && warp == 0 && s->first_tile + s->tiles == s->run_tiles)
      clear_page_lse(args, *s, s->unread_from, s->settled_count);
    const attend_segment* following = arrived(i);
    merger.finish(*s, consumer.acc);
    barrier_arrive(&shared.segment_empty[(i - 1) % attend_tune.segments]);
    s = following;
    done = end;
  }
  merger.end();
}

template <int HeadDim, int PageTokens, int ColumnTiles>
__global__ void __launch_bounds__(32 * (consumer_warps<ColumnTiles> + producer_warps<ColumnTiles>),
                                  1)
    attend_kernel(const __grid_constant__ attend_kernel_args args) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<attend_shared*>(memory);
  constexpr std::uint32_t consumers = consumer_warps<ColumnTiles>;
  const bool producer = threadIdx.x / 32 >= consumers;
  using producer_type = attend_producer<PageTokens, producer_warps<ColumnTiles>>;
  let_next_kernel_start();
  init_barriers(shared, producer_type::arrivals, consumers);
  wait_for_previous_kernel();
  attend_start start{};
  if (unit_count(args) > 32)
    find_start(args, PageTokens, shared.scratch, shared.start);
  else if (producer)
    start = find_start_of_few(args, PageTokens);
  __syncthreads();
  if (producer) {
    const std::uint32_t ring = ring_offset(ColumnTiles, consumers, args.columns, HeadDim);
    producer_type(args, shared, shared_address(memory) + ring, threadIdx.x / 32 - consumers)
        .run(unit_count(args) > 32 ? shared.start : start);
  } else {
    consume<HeadDim, PageTokens, ColumnTiles>(
        args, shared, reinterpret_cast<std::uint16_t*>(memory + query_offset()),
        reinterpret_cast<float*>(memory + merge_offset(ColumnTiles, HeadDim)));
  }
}

using attend_function = void (*)(attend_kernel_args);

template <int HeadDim, int ColumnTiles>
attend_function kernel_for_page(std::uint32_t page_tokens) {
  switch (page_tokens) {
  case 8: return attend_kernel<HeadDim, 8, ColumnTiles>;
  case 16: return attend_kernel<HeadDim, 16, ColumnTiles>;
  case 32: return attend_kernel<HeadDim, 32, ColumnTiles>;
  case 64: return attend_kernel<HeadDim, 64, ColumnTiles>;
  default: return nullptr;
  }
}

/// Null where there is no such kernel.
attend_function attend_kernel_32(std::uint32_t page_tokens, std::uint32_t column_tiles);
attend_function attend_kernel_64(std::uint32_t page_tokens, std::uint32_t column_tiles);
attend_function attend_kernel_128(std::uint32_t page_tokens, std::uint32_t column_tiles);

} // namespace pikv::gpu::cuda
