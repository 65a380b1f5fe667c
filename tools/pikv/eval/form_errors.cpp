// SPDX-License-Identifier: Apache-2.0
#include "eval/form_errors.hpp"

#include "text_table.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <moe_engine/dense_store.hpp>
#include <moe_engine/evaluate.hpp>
#include <pikv/gpu/device.hpp>

namespace pikv::tools {

namespace {

double relative(double error, double norm) noexcept {
  return norm > 0 ? std::sqrt(error / norm) : 0;
}

/// Plain attention that shows each layer's K, V and last queries when a text is in whole. One
/// sequence at a time.
class watched_store final : public moe_engine::kv_store {
public:
  /// K and V of all tokens; q of the last pass.
  using watcher = std::function<void(std::span<const float> k, std::span<const float> v,
                                     std::span<const float> q)>;

  watched_store(const model_shape& shape, std::uint32_t context, moe_engine::thread_team& team,
                watcher seen)
      : inner_(shape, dtype::f32, team), context_(context), k_(shape.layers), v_(shape.layers),
        seen_(std::move(seen)) {}

  result<sequence_id> open() override {
    for (auto* part : {&k_, &v_})
      for (auto& layer : *part)
        layer.clear();
    return inner_.open();
  }
  result<void> close(sequence_id x) override { return inner_.close(x); }
  result<void> append(std::uint32_t layer, std::span<const batch_part> parts,
                      std::span<const float> k, std::span<const float> v) override {
    auto done = inner_.append(layer, parts, k, v);
    if (done) {
      k_[layer].insert(k_[layer].end(), k.begin(), k.end());
      v_[layer].insert(v_[layer].end(), v.begin(), v.end());
    }
    return done;
  }
  result<void> annotate(std::uint32_t layer, std::span<const batch_part> parts,
                        std::span<const float> gates) override {
    return inner_.annotate(layer, parts, gates);
  }
  result<entry_account> attend(std::uint32_t layer, std::span<const batch_part> parts,
                               std::span<const float> q, std::span<float> out,
                               std::span<float> lse) override {
    auto done = inner_.attend(layer, parts, q, out, lse);
    if (done && parts.back().position + parts.back().tokens == context_)
      seen_(k_[layer], v_[layer], q);
    return done;
  }
  result<void> finish() override { return inner_.finish(); }
  result<std::uint64_t> bytes() override { return inner_.bytes(); }

private:
  moe_engine::dense_store inner_;
  std::uint32_t context_;
  std::vector<std::vector<float>> k_, v_; // by layer
  watcher seen_;
};

gpu::cache_dims dims_of(const model_shape& x, std::uint32_t page_tokens) {
  return {x.query_heads, x.kv_heads, x.head_dim, page_tokens};
}

std::vector<form_errors> all_settings(const model_shape& shape) {
  std::vector<form_errors> out;
  for (const std::uint32_t tokens : {16U, 32U, 64U})
    for (const form x : gpu::all_forms)
      if (!is_raw(x)) {
        const auto dims = dims_of(shape, tokens);
        const double values = 2.0 * tokens * shape.kv_heads * shape.head_dim;
        const auto bytes = static_cast<double>(gpu::layout_of(dims, x).page_bytes);
        out.push_back({x, tokens, 8 * bytes / values, {}});
      }
  return out;
}

} // namespace

double form_errors::k() const noexcept { return relative(sums.k_error, sums.k_norm); }
double form_errors::v() const noexcept { return relative(sums.v_error, sums.v_norm); }
double form_errors::logit() const noexcept { return relative(sums.logit_error, sums.logit_norm); }
double form_errors::nats() const noexcept { return relative(sums.logit_error, sums.logits); }
double form_errors::output() const noexcept { return relative(sums.out_error, sums.out_norm); }

result<std::vector<form_errors>>
measure_form_errors(const moe_engine::model& m, std::span<const std::uint8_t> text,
                    const study_geometry& geometry, const form_errors_options& options,
                    moe_engine::thread_team& team, const form_errors_callback& callback) {
  constexpr std::uint32_t chunk = 128;
  if (text.size() < std::uint64_t{options.windows} * options.context)
    return {errc::invalid_argument, fmt::format("{} windows of {} bytes need a longer text",
                                                options.windows, options.context)};
  const auto shape = m.config.shape();
  if (shape.head_dim % 32 != 0 || shape.head_dim > 256)
    return {errc::invalid_argument,
            fmt::format("pages hold heads of a multiple of 32 channels, at most 256, not {}",
                        shape.head_dim)};
  auto out = all_settings(shape);
  const auto rows = std::min({options.rows, chunk, options.context});
  const auto compare = [&](std::span<const float> k, std::span<const float> v,
                           std::span<const float> q) {
    const std::size_t row = std::size_t{shape.kv_heads} * shape.head_dim;
    team.run(out.size(), [&](std::size_t i) {
      auto g = geometry;
      g.page_tokens = out[i].page_tokens;
      const auto old = std::size_t{g.old_pages(options.context - rows)} * g.page_tokens;
      out[i].sums +=
          compare_form(dims_of(shape, g.page_tokens), out[i].stored,
                       {k.subspan(g.sinks * row, old * row), v.subspan(g.sinks * row, old * row),
                        q.last(std::size_t{rows} * shape.query_heads * shape.head_dim)});
    });
  };
  watched_store store{shape, options.context, team, compare};
  for (std::uint32_t i = 0; i < options.windows; ++i) {
    const auto window = text.subspan(std::size_t{i} * options.context, options.context);
    if (auto x = moe_engine::log_probabilities(m, store, team, window, chunk); !x)
      return x.error();
    if (callback && !callback(i + 1, options.windows))
      return {errc::cancelled, "the callback ended the run"};
  }
  return out;
}

std::string form_errors_table(std::span<const form_errors> all) {
  text_table table{{{"form"},
                    {"page", align::right},
                    {"bits a value", align::right},
                    {"K", align::right},
                    {"V", align::right},
                    {"logits", align::right},
                    {"nats", align::right},
                    {"output", align::right}}};
  const auto percent = [](double x) { return fmt::format("{:.2f}%", 100 * x); };
  for (const auto& x : all)
    table.add({std::string{to_string(x.stored)}, fmt::format("{}", x.page_tokens),
               fmt::format("{:.2f}", x.bits), percent(x.k()), percent(x.v()), percent(x.logit()),
               fmt::format("{:.3f}", x.nats()), percent(x.output())});
  return table.print();
}

nlohmann::ordered_json form_errors_json(std::span<const form_errors> all) {
  auto out = nlohmann::ordered_json::array();
  for (const auto& x : all)
    out.push_back({{"form", to_string(x.stored)},
                   {"page_tokens", x.page_tokens},
                   {"bits", x.bits},
                   {"k", x.k()},
                   {"v", x.v()},
                   {"logit", x.logit()},
                   {"nats", x.nats()},
                   {"output", x.output()},
                   {"raw_pages", x.sums.raw_pages}});
  return out;
}

} // namespace pikv::tools
