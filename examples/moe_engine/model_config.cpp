// SPDX-License-Identifier: Apache-2.0
#include <moe_engine/model_config.hpp>

#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::moe_engine {

namespace {

using nlohmann::json;

/// Reads keys and keeps the first complaint.
class key_reader {
public:
  key_reader(const json& x, const std::string& name) : x_(x), name_(name) {}

  /// A key with a null counts as absent, as in Hugging Face's files.
  bool has(const char* key) const { return x_.contains(key) && !x_[key].is_null(); }

  void count(const char* key, std::uint32_t& out) {
    constexpr std::uint64_t most = 1U << 24; // far above any model, far below overflow
    if (!has(key))
      complain(fmt::format("'{}' is missing", key));
    else if (!x_[key].is_number_unsigned() || x_[key].get<std::uint64_t>() == 0
             || x_[key].get<std::uint64_t>() > most)
      complain(fmt::format("'{}' is {}; a whole number from 1 is needed", key, x_[key].dump()));
    else
      out = x_[key].get<std::uint32_t>();
  }

  void positive(const char* key, float& out) {
    if (!has(key))
      return complain(fmt::format("'{}' is missing", key));
    if (!x_[key].is_number() || !(x_[key].get<double>() > 0)
        || !std::isfinite(x_[key].get<float>()))
      return complain(fmt::format("'{}' is {}; a number above 0 is needed", key, x_[key].dump()));
    out = x_[key].get<float>();
  }

  void flag(const char* key, bool& out) {
    if (!has(key))
      return;
    if (!x_[key].is_boolean())
      return complain(fmt::format("'{}' is {}; true or false is needed", key, x_[key].dump()));
    out = x_[key].get<bool>();
  }

  /// Refuses what would change the model's results if it were ignored.
  void only(const char* key, const json& allowed, bool required = false) {
    if (required && !has(key))
      complain(fmt::format("'{}' is missing", key));
    else if (has(key) && x_[key] != allowed)
      complain(
          fmt::format("'{}' is {}; this engine does {} only", key, x_[key].dump(), allowed.dump()));
  }

  void require(bool holds, std::string_view complaint) {
    if (!holds)
      complain(complaint);
  }

  const std::optional<error>& complaint() const noexcept { return complaint_; }

private:
  void complain(std::string_view why) {
    if (!complaint_)
      complaint_.emplace(errc::model_file, fmt::format("{}: {}", name_, why));
  }

  const json& x_;
  const std::string& name_;
  std::optional<error> complaint_;
};

void check(const model_config& m, key_reader& keys) {
  keys.require(m.vocabulary == 256,
               "'vocab_size' is not 256; this engine reads bytes and has no tokeniser");
  keys.require(m.query_heads % m.kv_heads == 0,
               "'num_attention_heads' is no multiple of 'num_key_value_heads'");
  keys.require(m.head_dim % 8 == 0 && m.head_dim <= 256,
               "the head dimension must be a multiple of 8, at most 256");
  keys.require(m.experts_per_token <= m.experts,
               "'num_experts_per_tok' is more than 'num_local_experts'");
}

} // namespace

result<model_config> parse_config(std::string_view text, const std::string& name) {
  const auto x = json::parse(text, nullptr, false);
  if (!x.is_object())
    return {errc::model_file, fmt::format("{}: not a JSON object", name)};
  model_config m;
  key_reader keys{x, name};
  keys.only("model_type", "mixtral", true);
  keys.count("num_hidden_layers", m.layers);
  keys.count("hidden_size", m.width);
  keys.count("num_attention_heads", m.query_heads);
  keys.count("num_key_value_heads", m.kv_heads);
  keys.count("num_local_experts", m.experts);
  keys.count("num_experts_per_tok", m.experts_per_token);
  keys.count("intermediate_size", m.expert_width);
  keys.count("vocab_size", m.vocabulary);
  keys.count("max_position_embeddings", m.max_positions);
  keys.positive("rms_norm_eps", m.norm_epsilon);
  keys.positive("rope_theta", m.rope_theta);
  keys.flag("tie_word_embeddings", m.tied_head);
  keys.only("hidden_act", "silu");
  keys.require(!keys.has("rope_scaling"), "'rope_scaling' is set; this engine does none");
  keys.require(!keys.has("sliding_window"), "'sliding_window' is set; this engine does none");
  if (keys.has("head_dim"))
    keys.count("head_dim", m.head_dim);
  else if (!keys.complaint()) {
    keys.require(m.width % m.query_heads == 0,
                 "'hidden_size' is no multiple of 'num_attention_heads' and 'head_dim' is missing");
    m.head_dim = m.width / m.query_heads;
  }
  if (!keys.complaint())
    check(m, keys);
  if (keys.complaint())
    return *keys.complaint();
  return m;
}

} // namespace pikv::moe_engine
