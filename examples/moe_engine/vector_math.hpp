// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a layer does to single rows besides matrix products, vectorised. Pure functions; spans of
/// one call have equal lengths unless said otherwise.
#pragma once

#include <cstddef>
#include <span>

#include <pikv/messages/types.hpp>

namespace pikv::moe_engine {

/// out = x / sqrt(mean(x^2) + epsilon) * weight
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon,
              std::span<float> out) noexcept;

/// y += a * x
void add_scaled(float a, std::span<const float> x, std::span<float> y) noexcept;

/// gate = silu(gate) * up, silu(x) = x / (1 + exp(-x)): SwiGLU (Shazeer, arXiv 2002.05202).
void silu_multiply(std::span<float> gate, std::span<const float> up) noexcept;

/// Rotates the pairs (head[i], head[i + dim/2]) by angles with these cosines and sines, dim/2 each:
/// rotary positions (Su et al., arXiv 2104.09864) in the half-split order of Hugging Face.
void rotate_half(std::span<float> head, std::span<const float> cosine,
                 std::span<const float> sine) noexcept;

/// log of the sum of exp(x)
float log_sum_exp(std::span<const float> x) noexcept;

/// Elements of `type` at `from` (any alignment) as f32.
void widen(dtype type, const void* from, std::span<float> to) noexcept;

/// f32 rounded to nearest even, as elements of `type`, into `to` (aligned for the type).
void narrow(dtype type, std::span<const float> from, void* to) noexcept;

} // namespace pikv::moe_engine
