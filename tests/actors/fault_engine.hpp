// SPDX-License-Identifier: Apache-2.0
/// \file
/// The thread of one engine in the fault tests; fault_client.hpp has what it compares with.
#pragma once

#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "actors/fault_client.hpp"

namespace pikv::test {

struct engine_options {
  double tolerance = 1e-4; ///< of outputs when all entries were read; values are within [-1, 1]
  std::uint32_t max_tokens = 200;
  steady::duration patience = 13s; ///< deadline and slack
};

class fault_engine {
public:
  fault_engine(cache c, std::uint32_t seed, engine_options o, tally& t)
      : cache_(std::move(c)), random_(seed), options_(o), tally_(t) {}

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested() && !::testing::Test::HasFatalFailure() && !stuck_)
      step();
    for (auto& s : sequences_)
      drop(s);
    check_canaries(0);
  }

  /// One batch through all layers, pipelined: append, annotate and attend are sent before the first
  /// of them is waited for.
  void step() {
    std::vector<sequence_copy*> batch{&sequences_[pick(2)]};
    if (pick(4) == 0)
      batch = {&sequences_[0], &sequences_[1]};
    for (auto* s : batch)
      if (!s->open || s->tokens >= options_.max_tokens) {
        drop(*s);
        reopen(*s);
      }
    if (!std::ranges::all_of(batch, &sequence_copy::open))
      return;
    work w;
    for (auto* s : batch) {
      const auto n = 1 + static_cast<std::uint32_t>(pick(24));
      w.parts.push_back({s->id, s->tokens, n});
      w.rows += n;
      s->tokens += n;
    }
    for (std::uint32_t layer = 0; layer < fault_shape.layers; ++layer)
      send(w, batch, layer);
    finish(w, batch);
    check_canaries(32);
  }

private:
  struct layer_work {
    std::vector<float> k, v, gate, q, out;
    std::optional<completion<append_report>> append;
    std::optional<completion<annotate_report>> annotate;
    std::optional<completion<attend_report>> attend;
  };
  struct work {
    std::vector<batch_part> parts;
    std::uint32_t rows = 0;
    steady::time_point begun = steady::now();
    std::array<std::shared_ptr<layer_work>, fault_shape.layers> layers;
  };

  std::size_t pick(std::size_t n) { return random_() % n; }
  float value() { return std::uniform_real_distribution<float>{-1, 1}(random_); }

  void send(work& w, const std::vector<sequence_copy*>& batch, std::uint32_t layer) {
    auto x = std::make_shared<layer_work>();
    w.layers[layer] = x;
    constexpr auto kv = fault_shape.kv_heads * fault_shape.head_dim;
    constexpr auto qo = fault_shape.query_heads * fault_shape.head_dim;
    x->k.resize(w.rows * kv);
    x->v.resize(w.rows * kv);
    x->gate.resize(w.rows * fault_shape.experts);
    for (auto* buffer : {&x->k, &x->v, &x->gate})
      std::ranges::generate(*buffer, [this] { return value(); });
    std::ptrdiff_t at = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto n = static_cast<std::ptrdiff_t>(w.parts[i].tokens * kv);
      batch[i]->k[layer].insert(batch[i]->k[layer].end(), x->k.begin() + at, x->k.begin() + at + n);
      batch[i]->v[layer].insert(batch[i]->v[layer].end(), x->v.begin() + at, x->v.begin() + at + n);
      at += n;
    }
    make_queries(w, batch, layer);
    x->out.assign(w.rows * qo, 0);
    const auto& f = fault_shape;
    x->append =
        cache_.append(layer, w.parts, nhd(std::as_const(x->k), w.rows, f.kv_heads, f.head_dim),
                      nhd(std::as_const(x->v), w.rows, f.kv_heads, f.head_dim));
    x->annotate = cache_.annotate(layer, w.parts, x->gate);
    attend_options o;
    o.allow_lost = std::ranges::any_of(batch, &sequence_copy::lost);
    x->attend =
        cache_.attend(layer, w.parts, nhd(std::as_const(x->q), w.rows, f.query_heads, f.head_dim),
                      nhd(x->out, w.rows, f.query_heads, f.head_dim), o);
  }

  /// Each query looks for one token of the window, a sink or (half of the time) any token, so that
  /// a page that is missing or wrong changes the output a lot.
  void make_queries(work& w, const std::vector<sequence_copy*>& batch, std::uint32_t layer) {
    auto& q = w.layers[layer]->q;
    for (std::size_t i = 0; i < batch.size(); ++i)
      for (std::uint32_t r = 0; r < w.parts[i].tokens; ++r)
        for (std::uint32_t h = 0; h < fault_shape.query_heads; ++h) {
          const auto position = w.parts[i].position + r;
          const auto recent = position - std::min<std::uint32_t>(position, 15);
          const auto from = pick(2) == 0 ? 0U : recent;
          const auto target = from + pick(position - from + 1);
          for (auto c : row_of(batch[i]->k[layer], target, h / fault_shape.group()))
            q.push_back(6 * c);
        }
  }

  /// The outcome of one request, or nothing when it hangs.
  template <class T>
  std::optional<result<T>> outcome(const work& w, request_kind kind, const completion<T>& c) {
    auto* r = wait_at_most(c, options_.patience);
    if (r == nullptr) {
      ADD_FAILURE() << to_string(kind) << " did not end";
      stuck_ = true;
      return {};
    }
    tally_.add(kind, r->code(), steady::now() - w.begun);
    return *r;
  }

  void finish(work& w, const std::vector<sequence_copy*>& batch) {
    bool broken = false;
    for (std::uint32_t layer = 0; layer < fault_shape.layers; ++layer) {
      auto& x = *w.layers[layer];
      auto append = outcome(w, request_kind::append, *x.append);
      auto annotate = outcome(w, request_kind::annotate, *x.annotate);
      auto attend = outcome(w, request_kind::attend, *x.attend);
      if (!append || !annotate || !attend)
        return hold(w);
      const bool appended = append->ok();
      broken = broken || !appended || attend->code() == errc::sequence_lost;
      expect_known(append->code(), appended ? "" : append->error().what, false);
      expect_known(annotate->code(), annotate->ok() ? "" : annotate->error().what, broken);
      expect_known(attend->code(), attend->ok() ? "" : attend->error().what, broken);
      if (attend->ok())
        check(w, batch, layer, attend->value());
      if (attend->code() == errc::entries_lost)
        for (auto* s : batch)
          s->lost = true;
      // What reads these late would read nonsense, and what writes late is seen.
      std::ranges::fill(x.k, std::numeric_limits<float>::quiet_NaN());
      std::ranges::fill(x.v, std::numeric_limits<float>::quiet_NaN());
      std::ranges::fill(x.out, canary);
      past_.push_back(w.layers[layer]);
    }
    if (broken)
      for (auto* s : batch)
        drop(*s);
  }

  /// Keeps the buffers of a request that hangs.
  void hold(const work& w) {
    for (const auto& x : w.layers)
      held_.push_back(x);
  }

  void expect_known(errc code, const std::string& what, bool after_failure) {
    const bool known = code == errc::ok || code == errc::actor_down || code == errc::sequence_lost
                       || code == errc::entries_lost || code == errc::over_budget
                       || code == errc::deadline_exceeded
                       || (after_failure && code == errc::position_gap);
    EXPECT_TRUE(known) << to_string(code) << ": " << what;
  }

  void check(const work& w, const std::vector<sequence_copy*>& batch, std::uint32_t layer,
             const attend_report& report) {
    EXPECT_TRUE(report.entries.adds_up());
    const auto missing = report.entries.existing - report.entries.read;
    EXPECT_EQ(report.entries.not_routed + report.entries.not_selected, 0U);
    tally_.partly += missing > 0 ? 1U : 0U;
    const auto& x = *w.layers[layer];
    std::size_t row = 0;
    double worst = 0;
    for (std::size_t i = 0; i < batch.size(); ++i)
      for (std::uint32_t r = 0; r < w.parts[i].tokens; ++r, ++row)
        for (std::size_t h = 0; h < fault_shape.query_heads; ++h) {
          const auto at = (row * fault_shape.query_heads + h) * fault_shape.head_dim;
          const auto position = w.parts[i].position + r;
          auto ref = attend_dense(
              *batch[i], layer, std::span{x.q}.subspan(at, fault_shape.head_dim), position,
              h / fault_shape.group(), [&](std::uint32_t t) {
                return missing == 0 || t < 2 || t + 16 >= w.parts[i].position + w.parts[i].tokens;
              });
          for (std::size_t c = 0; c < fault_shape.head_dim; ++c) {
            const auto error = std::abs(static_cast<double>(x.out[at + c]) - ref.out[c]);
            const auto excess = error - 2 * ref.uncertain;
            worst = std::isnan(excess) ? 1e9 : std::max(worst, excess);
          }
        }
    EXPECT_LE(worst, options_.tolerance)
        << "layer " << layer << ", " << missing << " missing of " << report.entries.existing;
  }

  void reopen(sequence_copy& s) {
    s = {};
    auto id = cache_.open();
    s.open = id.ok();
    tally_.add(request_kind::open, id.code(), {});
    if (id)
      s.id = *id;
    else
      expect_known(id.code(), id.error().what, false);
  }

  void drop(sequence_copy& s) {
    if (!std::exchange(s.open, false))
      return;
    const auto begun = steady::now();
    auto done = cache_.close(s.id);
    if (auto* r = wait_at_most(done, options_.patience))
      tally_.add(request_kind::close, r->code(), steady::now() - begun);
    else
      ADD_FAILURE() << "close did not end";
  }

  /// Lets go of all but the last `keep` outputs; they must be as they were left.
  void check_canaries(std::size_t keep) {
    for (; past_.size() > keep; past_.pop_front())
      EXPECT_TRUE(std::ranges::all_of(past_.front()->out, [](float x) { return x == canary; }))
          << "an output was written after its request had ended";
  }

  cache cache_;
  std::mt19937 random_;
  engine_options options_;
  tally& tally_;
  bool stuck_ = false;
  std::array<sequence_copy, 2> sequences_;
  std::deque<std::shared_ptr<layer_work>> past_;
  std::vector<std::shared_ptr<layer_work>> held_;
};

} // namespace pikv::test
