// SPDX-License-Identifier: Apache-2.0
#include "eval/prompt_run.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include <moe_engine/needle.hpp>

namespace pikv::tools {

namespace {

/// One batch of prompts under way.
class batch {
public:
  batch(moe_engine::engine& e, moe_engine::kv_store& kv, std::uint32_t vocabulary,
        std::span<const prompt> prompts, const prompt_run_options& options,
        const pass_callback& callback)
      : engine_(e), kv_(kv), vocabulary_(vocabulary), prompts_(prompts), options_(options),
        callback_(callback), sequences_(kv), fed_(prompts.size()), waiting_(prompts.size()),
        last_(prompts.size()), scores_(prompts.size()), credited_(prompts.size()) {}

  result<std::vector<recall_score>> run() {
    if (auto opened = sequences_.open(prompts_.size()); !opened)
      return opened.error();
    if (auto read = read_contexts(); !read)
      return read.error();
    std::size_t most = 0;
    for (const auto& x : prompts_)
      most = std::max(most, x.questions.size());
    for (std::size_t i = 0; i < most; ++i)
      if (auto answered = answer(i); !answered)
        return answered.error();
    if (auto closed = sequences_.close(); !closed)
      return closed.error();
    return std::move(scores_);
  }

private:
  result<void> read_contexts() {
    for (std::size_t i = 0; i < prompts_.size(); ++i)
      waiting_[i] =
          prompts_[i].context + (options_.query_aware ? prompts_[i].questions[0].ask : "");
    while (std::ranges::any_of(waiting_, [](const auto& x) { return !x.empty(); }))
      if (auto fed = feed(options_.chunk_tokens); !fed)
        return fed;
    // The usage is exact when nothing is in flight: asking for it waits for what is.
    if (auto finished = kv_.finish(); !finished)
      return finished;
    if (auto settled = kv_.bytes(); !settled)
      return settled.error();
    return {};
  }

  /// Feeds question i of each prompt that has one and decodes the answer.
  result<void> answer(std::size_t i) {
    std::vector<std::string> answers(prompts_.size());
    for (std::size_t p = 0; p < prompts_.size(); ++p)
      if (i < prompts_[p].questions.size() && !(i == 0 && options_.query_aware))
        waiting_[p] += prompts_[p].questions[i].ask;
    // Nothing waits when the question went in with the context: its logits are there.
    if (std::ranges::any_of(waiting_, [](const auto& x) { return !x.empty(); }))
      if (auto fed = feed(UINT32_MAX); !fed)
        return fed;
    for (std::size_t digit = 0; digit < moe_engine::code_digits; ++digit) {
      for (std::size_t p = 0; p < prompts_.size(); ++p) {
        if (i >= prompts_[p].questions.size())
          continue;
        if (digit == 0)
          score_choice(p, prompts_[p].questions[i]);
        const auto best = std::ranges::max_element(last_[p]) - last_[p].begin();
        answers[p] += static_cast<char>(best);
        waiting_[p] += static_cast<char>(best);
      }
      // The last digit goes in with the next question, if there is one.
      if (digit + 1 < moe_engine::code_digits)
        if (auto fed = feed(1); !fed)
          return fed;
    }
    for (std::size_t p = 0; p < prompts_.size(); ++p)
      if (i < prompts_[p].questions.size())
        score_answer(p, prompts_[p].questions[i], answers[p]);
    return {};
  }

  void score_choice(std::size_t p, const prompt_question& q) {
    if (q.choices.empty())
      return;
    const auto logit = [&](const std::string& x) {
      return last_[p][static_cast<unsigned char>(x[0])];
    };
    const auto best = std::ranges::max_element(q.choices, {}, logit);
    const bool right = std::ranges::find(q.accepted, *best) != q.accepted.end();
    scores_[p] += {0, 0, 1, right ? 1U : 0U,
                   static_cast<double>(q.accepted.size()) / static_cast<double>(q.choices.size())};
  }

  void score_answer(std::size_t p, const prompt_question& q, const std::string& answer) {
    const bool accepted = std::ranges::find(q.accepted, answer) != q.accepted.end();
    const bool first = accepted && credited_[p].insert(answer).second;
    scores_[p] += {1, first ? 1U : 0U, 0, 0, 0};
  }

  /// One pass over the next tokens, at most `most` of each prompt, of all that have some waiting.
  /// Leaves the logits that follow in `last_`.
  result<void> feed(std::uint32_t most) {
    parts_.clear();
    tokens_.clear();
    std::vector<std::size_t> of; // the prompt of each part
    for (std::size_t p = 0; p < prompts_.size(); ++p) {
      const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(most, waiting_[p].size()));
      if (n == 0)
        continue;
      parts_.push_back({sequences_[p], fed_[p], n});
      of.push_back(p);
      tokens_.insert(tokens_.end(), waiting_[p].begin(), waiting_[p].begin() + n);
      waiting_[p].erase(0, n);
      fed_[p] += n;
    }
    logits_.resize(tokens_.size() * vocabulary_);
    const auto start = std::chrono::steady_clock::now();
    const auto entries = engine_.forward(parts_, tokens_, logits_);
    const auto took = std::chrono::steady_clock::now() - start;
    if (!entries)
      return entries.error();
    std::size_t row = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      row += parts_[i].tokens;
      const auto from = logits_.begin() + static_cast<std::ptrdiff_t>((row - 1) * vocabulary_);
      last_[of[i]].assign(from, from + vocabulary_);
    }
    if (callback_
        && !callback_(*entries, tokens_.size(), std::chrono::duration<double>(took).count()))
      return {errc::cancelled, "the callback ended the run"};
    return {};
  }

  moe_engine::engine& engine_;
  moe_engine::kv_store& kv_;
  std::uint32_t vocabulary_;
  std::span<const prompt> prompts_;
  const prompt_run_options& options_;
  const pass_callback& callback_;
  moe_engine::open_sequences sequences_;
  std::vector<std::uint32_t> fed_;       ///< tokens in the store, by prompt
  std::vector<std::string> waiting_;     ///< tokens that come next, by prompt
  std::vector<std::vector<float>> last_; ///< logits after the latest token, by prompt
  std::vector<recall_score> scores_;
  std::vector<std::set<std::string>> credited_; ///< right answers already given, by prompt
  std::vector<batch_part> parts_;
  std::vector<std::uint8_t> tokens_;
  std::vector<float> logits_;
};

double ratio(double part, double whole) noexcept { return whole <= 0 ? 0 : part / whole; }

} // namespace

recall_score& recall_score::operator+=(const recall_score& x) noexcept {
  asked += x.asked;
  right += x.right;
  choices += x.choices;
  chosen += x.chosen;
  chance += x.chance;
  return *this;
}

double recall_score::accuracy() const noexcept { return ratio(right, asked); }
double recall_score::choice_accuracy() const noexcept { return ratio(chosen, choices); }
double recall_score::chance_accuracy() const noexcept { return ratio(chance, choices); }

bool usable(const recall_score& x) noexcept {
  constexpr double share_in_full = 0.1;
  constexpr double sigmas = 2.326; // one-sided 1% of the normal distribution
  if (x.asked > 0 && x.accuracy() >= share_in_full)
    return true;
  const double p = x.chance_accuracy();
  const double spread = std::sqrt(x.choices * p * (1 - p));
  return x.choices > 0 && x.chosen > x.chance + sigmas * spread;
}

std::uint64_t tokens_of(std::span<const prompt> prompts) noexcept {
  std::uint64_t sum = 0;
  for (const auto& x : prompts)
    sum += x.bytes();
  return sum;
}

result<std::vector<recall_score>> ask(moe_engine::engine& e, moe_engine::kv_store& kv,
                                      std::uint32_t vocabulary, std::span<const prompt> prompts,
                                      const prompt_run_options& options,
                                      const pass_callback& callback) {
  if (options.sequences == 0 || options.chunk_tokens == 0)
    return {errc::invalid_argument, "sequences and chunk_tokens must be at least 1"};
  std::vector<recall_score> out;
  for (std::size_t first = 0; first < prompts.size(); first += options.sequences) {
    const auto some =
        prompts.subspan(first, std::min<std::size_t>(options.sequences, prompts.size() - first));
    auto scores = batch{e, kv, vocabulary, some, options, callback}.run();
    if (!scores)
      return scores.error();
    out.insert(out.end(), scores->begin(), scores->end());
  }
  return out;
}

} // namespace pikv::tools
