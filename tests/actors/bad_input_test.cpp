// SPDX-License-Identifier: Apache-2.0
// Every misuse of the public face ends at once with its typed error and changes nothing.
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "support/cache_harness.hpp"

namespace pikv::test {
namespace {

constexpr model_shape shape{2, 4, 2, 32, 4};
constexpr std::uint32_t rows = 3;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

/// A valid call of each kind for one sequence with 5 tokens in layer 0; misuses change one thing.
struct call {
  std::uint32_t layer = 0;
  std::vector<batch_part> parts;
  std::vector<float> k, v, q, out, gate, lse;
  const_tensor kt, vt, qt;
  tensor outt;
  attend_options options;
  std::span<const float> gates;

  call(sequence_id x, std::uint32_t position)
      : parts{{x, position, rows}}, k(rows * 2 * 32, 0.5F), v(k), q(rows * 4 * 32, 0.5F), out(q),
        gate(rows * 4, 0.1F), lse(rows * 4), kt(nhd(std::span<const float>{k}, rows, 2, 32)),
        vt(nhd(std::span<const float>{v}, rows, 2, 32)),
        qt(nhd(std::span<const float>{q}, rows, 4, 32)), outt(nhd(std::span{out}, rows, 4, 32)),
        gates(gate) {}
};

struct misuse {
  const char* what;
  errc code;
  std::function<void(call&)> change;
};

/// What batches of every kind must refuse.
std::vector<misuse> bad_batches() {
  return {
      {"layer out of range", errc::out_of_range, [](call& c) { c.layer = 2; }},
      {"huge layer", errc::out_of_range, [](call& c) { c.layer = 0xFFFFFFFF; }},
      {"empty batch", errc::invalid_argument, [](call& c) { c.parts.clear(); }},
      {"no tokens", errc::invalid_argument, [](call& c) { c.parts[0].tokens = 0; }},
      {"one sequence twice", errc::invalid_argument,
       [](call& c) {
         c.parts[0].tokens = 1;
         c.parts.push_back(c.parts[0]);
         c.parts[1].tokens = 2;
       }},
      {"position that overflows", errc::out_of_range,
       [](call& c) { c.parts[0].position = 0xFFFFFFFE; }},
      {"huge position", errc::position_gap, [](call& c) { c.parts[0].position = 0x7FFFFF00; }},
      {"sequence that never was", errc::unknown_sequence,
       [](call& c) { c.parts[0].sequence.value += 1U << 20; }},
      {"sequence zero", errc::unknown_sequence, [](call& c) { c.parts[0].sequence = {}; }},
      {"more tokens than rows", errc::shape_mismatch, [](call& c) { c.parts[0].tokens = 4; }},
      {"huge token count", errc::out_of_range, [](call& c) { c.parts[0].tokens = 0xFFFFFFFF; }},
  };
}

/// What every tensor must refuse.
template <class Tensor>
std::vector<std::pair<const char*, std::pair<errc, std::function<void(Tensor&)>>>> bad_tensors() {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  return {
      {"null", {errc::null_buffer, [](auto& t) { t.data = nullptr; }}},
      {"too few bytes", {errc::shape_mismatch, [](auto& t) { --t.bytes; }}},
      {"no bytes", {errc::shape_mismatch, [](auto& t) { t.bytes = 0; }}},
      {"unknown type", {errc::dtype_mismatch, [](auto& t) { t.type = static_cast<dtype>(9); }}},
      {"unknown layout", {errc::shape_mismatch, [](auto& t) { t.order = static_cast<layout>(7); }}},
      {"rows", {errc::shape_mismatch, [](auto& t) { ++t.rows; }}},
      {"heads", {errc::shape_mismatch, [](auto& t) { --t.heads; }}},
      {"dim", {errc::shape_mismatch, [](auto& t) { t.dim = 16; }}},
      {"zero shape", {errc::shape_mismatch, [](auto& t) { t.rows = t.heads = t.dim = 0; }}},
      {"misaligned",
       {errc::invalid_argument,
        [](auto& t) {
          t.type = dtype::f16;
          if constexpr (std::is_same_v<Tensor, tensor>)
            t.data = static_cast<std::byte*>(t.data) + 1;
          else
            t.data = static_cast<const std::byte*>(t.data) + 1;
          --t.bytes;
        }}},
      {"rows that overlap", {errc::shape_mismatch, [](auto& t) { t.row_stride = 8; }}},
      {"heads that overlap", {errc::shape_mismatch, [](auto& t) { t.head_stride = 31; }}},
      {"rows that lie in heads", {errc::shape_mismatch, [](auto& t) { t.row_stride = 32; }}},
      {"row stride that overflows", {errc::shape_mismatch, [](auto& t) { t.row_stride = most; }}},
      {"head stride that overflows",
       {errc::shape_mismatch, [](auto& t) { t.head_stride = most / 2; }}},
      {"strides beyond the buffer", {errc::shape_mismatch, [](auto& t) { t.row_stride = 4096; }}},
  };
}

class bad_input : public ::testing::Test {
protected:
  bad_input() : h(settings(), shape, 1) {
    x = h.open();
    h.plain_buffers = true;
    h.fill(x, 0, 5);
  }
  static config::settings settings() {
    auto s = small_settings();
    s.cache.stored = dtype::f32;
    s.cache.page_tokens = 8;
    s.runtime.lanes = 2;
    s.devices.count = 2;
    return s;
  }
  sequence_id id() const { return h.sequences[x].id; }
  errc append(const call& c) { return h.kv().append(c.layer, c.parts, c.kt, c.vt).wait().code(); }
  errc attend(const call& c) {
    return h.kv().attend(c.layer, c.parts, c.qt, c.outt, c.options).wait().code();
  }
  errc annotate(const call& c) { return h.kv().annotate(c.layer, c.parts, c.gates).wait().code(); }
  /// The sequence still holds what it held and takes more.
  void still_works() {
    EXPECT_TRUE(is_dense(h, h.attend(0, {{x, 0, 5}})));
    call c{id(), 5};
    auto wrong = c;
    wrong.parts[0].position = 6;
    EXPECT_EQ(append(wrong), errc::position_gap) << "tokens were appended";
  }

  mutable cache_harness h;
  std::size_t x = 0;
};

TEST_F(bad_input, batches_are_refused_by_append) {
  for (const auto& m : bad_batches()) {
    call c{id(), 5};
    m.change(c);
    EXPECT_EQ(append(c), m.code) << m.what;
    still_works();
  }
}

TEST_F(bad_input, batches_are_refused_by_attend) {
  for (const auto& m : bad_batches()) {
    call c{id(), 2};
    m.change(c);
    EXPECT_EQ(attend(c), m.code) << m.what;
    still_works();
  }
}

TEST_F(bad_input, batches_are_refused_by_annotate) {
  for (const auto& m : bad_batches()) {
    call c{id(), 2};
    m.change(c);
    EXPECT_EQ(annotate(c), m.code) << m.what;
    still_works();
  }
}

TEST_F(bad_input, tensors_are_refused_one_by_one) {
  for (const auto& [what, m] : bad_tensors<const_tensor>()) {
    call k{id(), 5}, v{id(), 5}, q{id(), 2};
    m.second(k.kt);
    m.second(v.vt);
    m.second(q.qt);
    EXPECT_EQ(append(k), m.first) << "k: " << what;
    EXPECT_EQ(append(v), m.first) << "v: " << what;
    EXPECT_EQ(attend(q), m.first) << "q: " << what;
    still_works();
  }
  for (const auto& [what, m] : bad_tensors<tensor>()) {
    call c{id(), 2};
    m.second(c.outt);
    EXPECT_EQ(attend(c), m.first) << "out: " << what;
    still_works();
  }
}

TEST_F(bad_input, positions_that_do_not_continue_are_gaps) {
  for (std::uint32_t position : {0U, 2U, 4U, 6U, 100U}) {
    call c{id(), position};
    EXPECT_EQ(append(c), errc::position_gap) << position;
  }
  EXPECT_EQ(attend(call{id(), 3}), errc::position_gap);
  EXPECT_EQ(annotate(call{id(), 3}), errc::position_gap);
  still_works();
}

TEST_F(bad_input, options_and_gates_are_checked) {
  call c{id(), 2};
  c.options.deadline = std::chrono::nanoseconds{-1};
  EXPECT_EQ(attend(c), errc::invalid_argument);
  c = call{id(), 2};
  EXPECT_EQ(
      h.kv().attend(0, c.parts, c.qt, c.outt, {.lse = std::span{c.lse}.first(11)}).wait().code(),
      errc::shape_mismatch);
  for (float bad : {nan, std::numeric_limits<float>::infinity()}) {
    call g{id(), 2};
    g.gate[5] = bad;
    EXPECT_EQ(annotate(g), errc::not_finite);
  }
  call g{id(), 2};
  g.gates = std::span<const float>{g.gate}.first(11);
  EXPECT_EQ(annotate(g), errc::shape_mismatch);
  g.gates = {};
  EXPECT_EQ(annotate(g), errc::null_buffer);
  still_works();
}

TEST_F(bad_input, closed_sequences_are_refused) {
  const auto gone = *h.kv().open();
  ASSERT_TRUE(h.kv().close(gone).wait().ok());
  EXPECT_EQ(append(call{gone, 0}), errc::sequence_closed);
  EXPECT_EQ(attend(call{gone, 0}), errc::sequence_closed);
  EXPECT_EQ(annotate(call{gone, 0}), errc::sequence_closed);
  EXPECT_EQ(h.kv().fork(gone).wait().code(), errc::sequence_closed);
  EXPECT_EQ(h.kv().close(gone).wait().code(), errc::sequence_closed);
  EXPECT_EQ(h.kv().pin(gone).wait().code(), errc::sequence_closed);
  EXPECT_EQ(h.run().status().sequences, 1U);
  still_works();
}

TEST_F(bad_input, a_runtime_serves_one_model_and_stops_for_good) {
  EXPECT_EQ(h.run().open(shape).code(), errc::invalid_argument);
  still_works();
  h.run().stop();
  EXPECT_EQ(append(call{id(), 5}), errc::cancelled);
  EXPECT_EQ(attend(call{id(), 2}), errc::cancelled);
  EXPECT_EQ(annotate(call{id(), 2}), errc::cancelled);
  EXPECT_EQ(h.kv().open().code(), errc::cancelled);
  EXPECT_EQ(h.kv().fork(id()).wait().code(), errc::cancelled);
  EXPECT_EQ(h.kv().close(id()).wait().code(), errc::cancelled);
  EXPECT_EQ(h.kv().usage().wait().code(), errc::cancelled);
  EXPECT_EQ(h.run().reload(h.run().settings()).wait().code(), errc::cancelled);
  EXPECT_EQ(h.run().open(shape).code(), errc::cancelled);
}

} // namespace
} // namespace pikv::test
