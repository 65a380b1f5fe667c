// SPDX-License-Identifier: Apache-2.0
/// \file
/// The queries of a segment: loaded by all consumer warps of a block, kept in shared memory as
/// operands of matrix products.
#pragma once

#include <pikv/gpu/cuda/attend_fragments.cuh>

namespace pikv::gpu::cuda {

template <int HeadDim, int ColumnTiles>
class attend_queries {
public:
  /// The calling thread's share of a segment's queries.
  static constexpr std::uint32_t threads = 32 * consumer_warps<ColumnTiles>;
  static constexpr std::uint32_t values = 8 * ColumnTiles * HeadDim;
  struct part {
    float x[(values + threads - 1) / threads];
  };

  /// Starts loading a segment's queries.
  __device__ static void load(const attend_kernel_args& args, const attend_segment& s, part& own) {
    const tensor_ref& q = args.launch.q;
    const std::uint32_t columns = s.rows * args.group;
    for_share([&](std::uint32_t n, std::uint32_t column, std::uint32_t channel) {
      const std::uint64_t row = s.row_begin + column / args.group;
      const std::uint64_t head = s.kv_head * args.group + column % args.group;
      own.x[n] = 0;
      if (column < columns)
        own.x[n] = load_f32(q.data, q.type, row * q.row_stride + head * q.head_stride + channel);
    });
  }

  /// Writes what was loaded to `operands`, see query_class.
  __device__ static void store(const part& own, std::uint16_t* operands) {
    for_share([&](std::uint32_t n, std::uint32_t column, std::uint32_t channel) {
      put(operands, column, channel, own.x[n]);
    });
  }

  /// Shared address of the calling lane's operands for pages of a form: those of column tile n and
  /// step i are `(n * steps + i) * 32 * 8` bytes further.
  template <form F>
  __device__ static std::uint32_t operands_of(const std::uint16_t* operands) {
    return shared_address(operands + index(class_of<F>(), 0, 0, threadIdx.x % 32));
  }

private:
  static constexpr int steps = HeadDim / 16;

  /// `f(n, column, channel)` for the thread's nth query value.
  template <class F>
  __device__ static void for_share(F&& f) {
#pragma unroll
    for (std::uint32_t n = 0; n * threads < values; ++n)
      if (const std::uint32_t i = n * threads + threadIdx.x; i < values)
        f(n, i / HeadDim, i % HeadDim);
  }

  template <form F>
  __device__ static constexpr query_class class_of() {
    return F == form::bf16  ? query_class::bf16
           : F == form::f16 ? query_class::f16
                            : query_class::f16_quantised;
  }

  /// Index of lane `lane`'s operands (4 elements) of a step.
  __device__ static constexpr std::uint32_t index(query_class c, std::uint32_t column_tile,
                                                  std::uint32_t step, std::uint32_t lane) {
    return (((static_cast<std::uint32_t>(c) * ColumnTiles + column_tile) * steps + step) * 32
            + lane)
           * 4;
  }

  /// Inverse of `k_channel`, for both orders.
  __device__ static void put(std::uint16_t* operands, std::uint32_t column, std::uint32_t channel,
                             float x) {
    const std::uint32_t high = channel / 4 % 4;
    const std::uint32_t low = channel % 4;
    const auto store = [&](query_class c, std::uint32_t t, std::uint32_t i, std::uint16_t bits) {
      operands[index(c, column / 8, channel / 16, column % 8 * 4 + t) + i] = bits;
    };
    const std::uint16_t f16 = __half_as_ushort(from_f32<__half>(x));
    store(query_class::bf16, low, high, __bfloat16_as_ushort(from_f32<__nv_bfloat16>(x)));
    store(query_class::f16, low, high, f16);
    store(query_class::f16_quantised, high, low, f16);
  }
};

} // namespace pikv::gpu::cuda
