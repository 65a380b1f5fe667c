// SPDX-License-Identifier: Apache-2.0
#include "demo/load.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <moe_engine/engine.hpp>
#include <moe_engine/pikv_store.hpp>
#include <moe_engine/thread_team.hpp>

#include "demo/load_plan.hpp"

namespace pikv::tools {

namespace {

using clock = std::chrono::steady_clock;

constexpr std::uint32_t prompt_chunk = 32; // tokens of a sequence in one pass
constexpr std::uint32_t answer_chunk = 4;  // the last quarter of a sequence comes slowly
constexpr std::uint32_t fork_tokens = 8;
constexpr std::chrono::milliseconds slice{50};
constexpr std::chrono::milliseconds rest{500};
constexpr std::chrono::seconds note_every{5};

struct slot {
  std::optional<sequence_id> sequence;
  std::size_t from = 0;       // of its piece in the text
  std::uint32_t position = 0; // tokens fed
  std::uint32_t end = 0;      // tokens to feed; more than a sequence has: it is a fork
};

class load {
public:
  load(runtime& rt, cache c, const moe_engine::model& model, std::span<const std::uint8_t> text,
       std::span<const config::settings> rotation, const load_options& options,
       const std::function<bool()>& stop)
      : runtime_(rt), cache_(c), store_(std::move(c)), team_(options.threads),
        engine_(model, store_, team_), vocabulary_(model.config.vocabulary), text_(text),
        rotation_(rotation), options_(options), stop_(stop), slots_(options.sequences) {
    for (std::size_t i = 0; i < slots_.size(); ++i)
      slots_[i].from = i * options.tokens;
  }

  load_outcome run() {
    auto turn = clock::now() + options_.every;
    while (!stop_()) {
      if (rotation_.size() > 1 && clock::now() >= turn) {
        reload();
        turn = clock::now() + options_.every;
      }
      const auto begin = clock::now();
      const auto fed = pass();
      if (!fed) {
        fail(fed.error());
        pause(clock::now() + rest);
        continue;
      }
      outcome_.tokens += *fed;
      if (options_.tokens_per_second > 0)
        pause(begin
              + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(
                  static_cast<double>(*fed) / options_.tokens_per_second)));
    }
    close_all();
    return outcome_;
  }

private:
  void pause(clock::time_point until) const {
    while (!stop_() && clock::now() < until)
      std::this_thread::sleep_for(
          std::min<clock::duration>(slice, std::max<clock::duration>(until - clock::now(), {})));
  }

  void note(const std::string& text) {
    const auto now = clock::now();
    if (noted_ && now - *noted_ < note_every)
      return;
    noted_ = now;
    fmt::print(stderr, "load: {}\n", text);
  }

  void fail(const error& e) {
    ++outcome_.errors;
    note(to_string(e));
    close_all();
  }

  void close_all() {
    for (auto& x : slots_)
      if (x.sequence) {
        // An error here follows from the one before, or the load is over.
        if (const auto closed = store_.close(*x.sequence); !closed)
          note(to_string(closed.error()));
        x.sequence.reset();
      }
  }

  void reload() {
    row_ = (row_ + 1) % rotation_.size();
    const auto done = runtime_.reload(with_live_keys(runtime_.settings(), rotation_[row_])).wait();
    if (done)
      ++outcome_.reloads;
    else
      note(to_string(done.error()));
  }

  result<void> open(slot& x) {
    const auto opened = store_.open();
    if (!opened)
      return opened.error();
    const auto next = x.from + slots_.size() * options_.tokens;
    x = {*opened, next % (text_.size() - piece() + 1), 0, options_.tokens};
    return {};
  }

  /// A full sequence goes on as its fork, on shared pages, for a last piece; then that closes.
  result<void> turn_over(slot& x) {
    if (x.end == options_.tokens) {
      const auto fork = cache_.fork(*x.sequence).wait();
      if (!fork)
        return fork.error();
      x.end = piece();
      return store_.close(std::exchange(*x.sequence, *fork));
    }
    ++outcome_.sequences;
    const auto closed = store_.close(*x.sequence);
    x.sequence.reset();
    return closed ? open(x) : closed;
  }

  /// Feeds the next tokens of every sequence; how many those were.
  result<std::uint64_t> pass() {
    parts_.clear();
    tokens_.clear();
    for (auto& x : slots_) {
      if (auto ready = !x.sequence           ? open(x)
                       : x.position == x.end ? turn_over(x)
                                             : result<void>{};
          !ready)
        return ready.error();
      const auto chunk = x.position < options_.tokens / 4 * 3 ? prompt_chunk : answer_chunk;
      const auto count = std::min(chunk, x.end - x.position);
      parts_.push_back({*x.sequence, x.position, count});
      const auto bytes = text_.subspan(x.from + x.position, count);
      tokens_.insert(tokens_.end(), bytes.begin(), bytes.end());
      x.position += count;
    }
    logits_.resize(tokens_.size() * vocabulary_);
    const auto entries = engine_.forward(parts_, tokens_, logits_);
    if (!entries)
      return entries.error();
    outcome_.entries += *entries;
    return tokens_.size();
  }

  std::uint32_t piece() const noexcept { return options_.tokens + fork_tokens; }

  runtime& runtime_;
  cache cache_;
  moe_engine::pikv_store store_;
  moe_engine::thread_team team_;
  moe_engine::engine engine_;
  std::uint32_t vocabulary_;
  std::span<const std::uint8_t> text_;
  std::span<const config::settings> rotation_;
  const load_options& options_;
  const std::function<bool()>& stop_;
  std::vector<slot> slots_;
  std::vector<batch_part> parts_;
  std::vector<std::uint8_t> tokens_;
  std::vector<float> logits_;
  std::size_t row_ = 0;
  std::optional<clock::time_point> noted_;
  load_outcome outcome_;
};

} // namespace

result<load_outcome> run_load(runtime& rt, const moe_engine::model& model,
                              std::span<const std::uint8_t> text,
                              std::span<const config::settings> rotation,
                              const load_options& options, const std::function<bool()>& stop) {
  const auto least = std::size_t{options.tokens} + fork_tokens;
  if (options.sequences == 0 || options.tokens == 0 || text.size() < least
      || model.config.max_positions < least)
    return {errc::invalid_argument,
            fmt::format("a load of {} sequences of {} tokens needs at least one of each, {} bytes "
                        "of text ({} are there) and as many positions of the model ({})",
                        options.sequences, options.tokens, least, text.size(),
                        model.config.max_positions)};
  auto opened = rt.open(model.config.shape());
  if (!opened)
    return opened.error();
  load x{rt, std::move(*opened), model, text, rotation, options, stop};
  return x.run();
}

} // namespace pikv::tools
