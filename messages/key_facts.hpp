// SPDX-License-Identifier: Apache-2.0
/// \file
/// What scheduling policies may ask to be told of the keys of a page when it settles: a few numbers
/// from the page's summary, means over the KV heads.
#pragma once

#include <cstdint>

namespace pikv {

/// Bits: what of key_facts a policy wants; only that is computed.
enum key_fact : std::uint8_t {
  key_fact_none = 0,
  key_fact_norm = 1,
  key_fact_likeness = 2,
  key_fact_reach = 4,
};

struct key_facts {
  std::uint8_t known = key_fact_none; ///< key_fact bits; the other numbers are 0
  float norm = 0;                     ///< root mean square of the lengths of the page's keys
  /// Cosine of the page's mean key and the mean of the unit mean keys of the pages of the
  /// (sequence, layer) that settled so far, itself included; in [-1, 1].
  float likeness = 0;
  /// The largest dot product of a unit query with any key inside the page's box of channel minima
  /// and maxima: the length of the box's farthest corner.
  float reach = 0;

  friend bool operator==(const key_facts&, const key_facts&) = default;
};

} // namespace pikv
