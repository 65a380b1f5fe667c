// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a form of pages does to given keys and values, and to the logits and outputs of queries
/// that read nothing else.
#pragma once

#include <cstdint>
#include <span>

#include <pikv/gpu/page_layout.hpp>

namespace pikv::tools {

/// One layer's entries and the rows that read all of them.
struct form_input {
  std::span<const float> k, v; ///< `[tokens, kv_heads, head_dim]`; tokens: whole pages
  std::span<const float> q;    ///< `[rows, query_heads, head_dim]`, not scaled
};

/// Squared errors beside what they are relative to.
struct form_sums {
  double k_error = 0, k_norm = 0;
  double v_error = 0, v_norm = 0;
  /// Logits q.k / sqrt(head_dim), of each row and query head without their mean over the entries,
  /// which softmax does not see.
  double logit_error = 0, logit_norm = 0;
  double logits = 0; ///< how many
  double out_error = 0, out_norm = 0;
  std::uint64_t raw_pages = 0; ///< that do not fit the form, and stay raw

  form_sums& operator+=(const form_sums& x) noexcept;
};

/// Encodes the entries page by page from f32, with the host's kernels, and compares. `stored` is
/// not raw. On the calling thread.
form_sums compare_form(const gpu::cache_dims& dims, form stored, const form_input& x);

} // namespace pikv::tools
