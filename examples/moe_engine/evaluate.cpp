// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/evaluate.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <moe_engine/batch_run.hpp>
#include <moe_engine/coverage_probe.hpp>
#include <moe_engine/needle.hpp>
#include <moe_engine/vector_math.hpp>

namespace pikv::moe_engine {

namespace {

result<void> check(const evaluation_options& o, const model_config& c, std::size_t text_bytes) {
  if (o.sequences == 0 || o.chunk_tokens == 0)
    return {errc::invalid_argument, "sequences and chunk_tokens must be at least 1"};
  if (o.window_bytes < 2 || o.window_bytes > c.max_positions)
    return {errc::invalid_argument, fmt::format("window_bytes is {}; this model takes 2 to {}",
                                                o.window_bytes, c.max_positions)};
  const auto needed = std::uint64_t{o.windows} * o.window_bytes;
  if (text_bytes < needed)
    return {errc::invalid_argument, fmt::format("{} windows need {} bytes of text; it has {}",
                                                o.windows, needed, text_bytes)};
  return {};
}

/// -log2 of the probability that these logits give to a byte.
double bits_of(std::span<const float> logits, std::uint8_t byte) {
  return static_cast<double>(log_sum_exp(logits) - logits[byte]) / std::numbers::ln2;
}

/// One evaluation under way.
class evaluation {
public:
  evaluation(const model& m, kv_store& kv, thread_team& team, const evaluation_options& options,
             const progress_callback& progress)
      : model_(m), kv_(kv), team_(team), options_(options), progress_(progress) {
    if (options.coverage_stride != 0)
      probe_.emplace(kv, m.config.shape(), options.coverage_stride, team);
    state_.tokens_total = (std::uint64_t{options.windows} + options.needles) * options.window_bytes;
  }

  result<void> run_text(byte_text text) {
    std::vector<byte_text> windows;
    for (std::size_t i = 0; i < options_.windows; ++i)
      windows.push_back(text.subspan(i * options_.window_bytes, options_.window_bytes));
    state_.phase = evaluation_phase::text;
    return run(probe_ ? *probe_ : kv_, windows,
               [this](byte_text window, std::size_t at, std::span<const float> logits) {
                 if (at + 1 == window.size())
                   return;
                 bits_ += bits_of(logits, window[at + 1]);
                 ++result_.predictions;
                 state_.bits_per_byte = bits_ / static_cast<double>(result_.predictions);
               });
  }

  result<void> run_needles(byte_text text) {
    const auto prompts =
        needle_prompts(text, options_.needles, options_.window_bytes, options_.seed);
    if (!prompts)
      return prompts.error();
    state_.phase = evaluation_phase::needles;
    const std::vector<byte_text> windows{prompts->begin(), prompts->end()};
    std::set<const std::uint8_t*> wrong; // prompts with a wrong digit, by their first byte
    auto done =
        run(kv_, windows, [&](byte_text prompt, std::size_t at, std::span<const float> logits) {
          if (at + 1 + code_digits < prompt.size() || at + 1 == prompt.size())
            return;
          const auto best = std::ranges::max_element(logits) - logits.begin();
          if (best != prompt[at + 1])
            wrong.insert(prompt.data());
        });
    result_.needles = options_.needles;
    result_.needles_right = options_.needles - static_cast<std::uint32_t>(wrong.size());
    return done;
  }

  evaluation_result outcome() const {
    auto x = result_;
    x.bits_per_byte = state_.bits_per_byte;
    if (probe_) {
      x.coverage = probe_->coverage();
      x.coverage_samples = probe_->samples();
      x.coverage_by_layer = probe_->coverage_by_layer();
    }
    return x;
  }

private:
  template <class F>
  result<void> run(kv_store& kv, std::span<const byte_text> windows, F&& row) {
    engine e{model_, kv, team_};
    for (std::size_t first = 0; first < windows.size(); first += options_.sequences) {
      const auto batch =
          windows.subspan(first, std::min<std::size_t>(options_.sequences, windows.size() - first));
      const auto bytes = run_batch(
          e, kv, batch, model_.config.vocabulary, options_.chunk_tokens,
          {[&](std::size_t i, std::size_t at, std::span<const float> x) { row(batch[i], at, x); },
           [this](const entry_account& x, std::uint64_t n, double s) { return count(x, n, s); }});
      if (!bytes)
        return bytes.error();
      if (*bytes > result_.kv_bytes) {
        result_.kv_bytes = *bytes;
        result_.kv_tokens = batch.size() * options_.window_bytes;
        result_.kv_kept =
            last_.existing == 0
                ? 1
                : 1 - static_cast<double>(last_.evicted) / static_cast<double>(last_.existing);
      }
    }
    return {};
  }

  bool count(const entry_account& entries, std::uint64_t tokens, double seconds) {
    const auto measuring = probe_ ? probe_->seconds() : 0.0;
    last_ = entries;
    result_.entries += entries;
    result_.tokens += tokens;
    result_.forward_seconds += seconds - (measuring - measured_seconds_);
    measured_seconds_ = measuring;
    state_.tokens_done = result_.tokens;
    state_.seconds = result_.forward_seconds;
    return !progress_ || progress_(state_);
  }

  const model& model_;
  kv_store& kv_;
  thread_team& team_;
  const evaluation_options& options_;
  const progress_callback& progress_;
  std::optional<coverage_probe> probe_; ///< of the text alone: its own copy of K takes time
  evaluation_progress state_;
  evaluation_result result_;
  entry_account last_; ///< of the latest pass
  double bits_ = 0;
  double measured_seconds_ = 0;
};

} // namespace

result<evaluation_result> evaluate(const model& m, kv_store& kv, thread_team& team,
                                   std::span<const std::uint8_t> text,
                                   const evaluation_options& options,
                                   const progress_callback& progress) {
  if (auto checked = check(options, m.config, text.size()); !checked)
    return checked.error();
  evaluation run{m, kv, team, options, progress};
  if (options.windows != 0)
    if (auto done = run.run_text(text); !done)
      return done.error();
  if (options.needles != 0)
    if (auto done = run.run_needles(text); !done)
      return done.error();
  return run.outcome();
}

result<std::vector<float>> log_probabilities(const model& m, kv_store& kv, thread_team& team,
                                             std::span<const std::uint8_t> text,
                                             std::uint32_t chunk_tokens) {
  if (text.size() < 2 || chunk_tokens == 0)
    return {errc::invalid_argument, "two bytes and chunks of one token are the least"};
  engine e{m, kv, team};
  std::vector<float> out(text.size() - 1);
  const byte_text texts[] = {text};
  const auto ran = run_batch(e, kv, texts, m.config.vocabulary, chunk_tokens,
                             {[&](std::size_t, std::size_t at, std::span<const float> logits) {
                                if (at < out.size())
                                  out[at] = logits[text[at + 1]] - log_sum_exp(logits);
                              },
                              {}});
  if (!ran)
    return ran.error();
  return out;
}

result<std::vector<float>> read_reference(const std::string& path) {
  const auto bytes = read_bytes(path);
  if (!bytes)
    return bytes.error();
  const auto x = nlohmann::json::parse(*bytes, nullptr, false);
  if (!x.is_object() || !x.contains("log_probs") || !x["log_probs"].is_array())
    return {errc::model_file, fmt::format("{}: has no list 'log_probs'", path)};
  std::vector<float> out;
  for (const auto& value : x["log_probs"]) {
    if (!value.is_number())
      return {errc::model_file, fmt::format("{}: 'log_probs' holds {}", path, value.dump())};
    out.push_back(value.get<float>());
  }
  return out;
}

} // namespace pikv::moe_engine
