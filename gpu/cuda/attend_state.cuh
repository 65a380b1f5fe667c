// SPDX-License-Identifier: Apache-2.0
/// \file
/// The partial attention that a warp keeps in registers, and its running softmax.
#pragma once

#include <pikv/gpu/cuda/attend_ptx.cuh>

namespace pikv::gpu::cuda {

/// Partial attention over the tiles of one warp, columns = (row, head of the group). A lane's
/// columns are 8n + 2t and 8n + 2t + 1. Logits are in units of log 2.
template <int HeadDim, int ColumnTiles>
struct attend_state {
  static constexpr int row_tiles = HeadDim / 16;
  float out[ColumnTiles][row_tiles][4]; ///< O^T: rows g, g + 8; columns 2t, 2t + 1
  float top[ColumnTiles][2];            ///< reference; the same in all lanes of a column
  float sum[ColumnTiles][2];            ///< of the lane's own tokens' weights

  __device__ void reset() {
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n) {
#pragma unroll
      for (int m = 0; m < row_tiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          out[n][m][i] = 0;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        top[n][c] = -INFINITY;
        sum[n][c] = 0;
      }
    }
  }

  /// What the tile holds cannot be read: the result is NaN.
  __device__ void poison() {
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n)
      sum[n][0] = sum[n][1] = NAN;
  }

  /// Turns logits into weights relative to the columns' references, after raising these.
  __device__ void weigh(float (&s)[ColumnTiles][4][4], float sum_factor) {
#pragma unroll
    for (int n = 0; n < ColumnTiles; ++n) {
      float high[2] = {top[n][0], top[n][1]};
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          high[i % 2] = fmaxf(high[i % 2], s[n][m][i]);
#pragma unroll
      for (int c = 0; c < 2; ++c)
#pragma unroll
        for (int step = 4; step < 32; step *= 2)
          high[c] = fmaxf(high[c], __shfl_xor_sync(~0U, high[c], step));
      if (__any_sync(~0U, high[0] > top[n][0] || high[1] > top[n][1]))
        raise(n, high);
      float added[2] = {0, 0};
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float reference = high[i % 2] == -INFINITY ? 0.0F : high[i % 2];
          s[n][m][i] = exp2_fast(s[n][m][i] - reference);
          added[i % 2] += s[n][m][i];
        }
#pragma unroll
      for (int c = 0; c < 2; ++c)
        sum[n][c] = fmaf(added[c], sum_factor, sum[n][c]);
    }
  }

private:
  __device__ void raise(int n, const float (&high)[2]) {
    float factor[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      factor[c] = high[c] == -INFINITY ? 1.0F : exp2_fast(top[n][c] - high[c]);
      top[n][c] = high[c];
      sum[n][c] *= factor[c];
    }
#pragma unroll
    for (int m = 0; m < row_tiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        out[n][m][i] *= factor[i % 2];
  }
};

} // namespace pikv::gpu::cuda
