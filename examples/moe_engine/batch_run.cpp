// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/batch_run.hpp>

#include <algorithm>
#include <chrono>

#include <moe_engine/open_sequences.hpp>

namespace pikv::moe_engine {

namespace {

/// One forward pass over the same bytes [at, at + count) of all texts.
class chunk_run {
public:
  chunk_run(engine& e, std::span<const byte_text> texts, std::uint32_t vocabulary,
            const batch_observer& observer)
      : engine_(e), texts_(texts), vocabulary_(vocabulary), observer_(observer) {}

  result<void> run(const open_sequences& sequences, std::uint32_t at, std::uint32_t count) {
    parts_.clear();
    tokens_.clear();
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      const auto bytes = texts_[i].subspan(at, count);
      parts_.push_back({sequences[i], at, count});
      tokens_.insert(tokens_.end(), bytes.begin(), bytes.end());
    }
    logits_.resize(tokens_.size() * vocabulary_);
    const auto start = std::chrono::steady_clock::now();
    const auto entries = engine_.forward(parts_, tokens_, logits_);
    const auto took = std::chrono::steady_clock::now() - start;
    if (!entries)
      return entries.error();
    if (observer_.row)
      for (std::size_t r = 0; r < tokens_.size(); ++r)
        observer_.row(r / count, at + r % count,
                      std::span{logits_}.subspan(r * vocabulary_, vocabulary_));
    if (observer_.pass
        && !observer_.pass(*entries, tokens_.size(), std::chrono::duration<double>(took).count()))
      return {errc::cancelled, "the progress callback ended the run"};
    return {};
  }

private:
  engine& engine_;
  std::span<const byte_text> texts_;
  std::uint32_t vocabulary_;
  const batch_observer& observer_;
  std::vector<batch_part> parts_;
  std::vector<std::uint8_t> tokens_;
  std::vector<float> logits_;
};

} // namespace

result<std::uint64_t> run_batch(engine& e, kv_store& kv, std::span<const byte_text> texts,
                                std::uint32_t vocabulary, std::uint32_t chunk_tokens,
                                const batch_observer& observer) {
  open_sequences sequences{kv};
  if (auto opened = sequences.open(texts.size()); !opened)
    return opened.error();
  chunk_run chunk{e, texts, vocabulary, observer};
  const auto length = static_cast<std::uint32_t>(texts.empty() ? 0 : texts[0].size());
  for (std::uint32_t at = 0; at < length; at += chunk_tokens)
    if (auto done = chunk.run(sequences, at, std::min(chunk_tokens, length - at)); !done)
      return done.error();
  const auto bytes = kv.bytes();
  if (!bytes)
    return bytes.error();
  if (auto closed = sequences.close(); !closed)
    return closed.error();
  return *bytes;
}

} // namespace pikv::moe_engine
