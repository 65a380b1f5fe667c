// SPDX-License-Identifier: Apache-2.0
#include "plan_report.hpp"

#include "text_table.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pikv::tools {

namespace {

constexpr std::string_view about_tokens =
    "counts tokens of one layer, not bytes: it knows no heads, layers or value sizes. L/E adds a "
    "share "
    "for the experts, yet K and V do not depend on the experts: a cache that keeps each entry once "
    "holds L/G per device.";
constexpr std::string_view about_values =
    "counts values of one layer: a summary of 2d values for each of the L/(G S) pages and K "
    "resident "
    "pages of S tokens. All other tokens are stored nowhere in it, so it is not the size of a "
    "cache "
    "that keeps its entries; it has no scales, window or page tables either.";
constexpr std::string_view about_best = "is the S where M is least, M* = M(S*). Read it as a page "
                                        "size in tokens for queries that read K "
                                        "pages, not as the capacity of a ring.";

struct part {
  std::string_view key;
  std::string_view title;
  std::uint64_t byte_account::*bytes;
};

constexpr std::array parts{
    part{"settled_values", "settled pages: K and V", &byte_account::settled_values},
    part{"settled_scales", "settled pages: scales", &byte_account::settled_scales},
    part{"raw_values", "sinks and window: K and V", &byte_account::raw_values},
    part{"empty_slots", "empty slots of partly filled pages", &byte_account::empty_slots},
    part{"alignment", "alignment inside pages", &byte_account::alignment},
    part{"summaries", "summaries", &byte_account::summaries},
    part{"tables", "page tables and records, in host memory", &byte_account::tables},
    part{"table_copies", "copies of page tables on the device", &byte_account::table_copies},
    part{"rounding", "rounding to size classes", &byte_account::rounding},
    part{"free_cells", "free cells of started slabs", &byte_account::free_cells},
};

std::string model_line(const kv_model& m) {
  const auto heads = m.latent() ? fmt::format("one latent of {} values", m.k_dim)
                                : fmt::format("{} KV heads of {}", m.kv_heads, m.k_dim);
  return fmt::format("{}: {} layers, {} ({} query heads), {} experts", m.name, m.layers, heads,
                     m.query_heads, m.experts);
}

std::string cache_line(const plan_request& x, std::string_view selection) {
  return fmt::format("{} sequence{} of {} tokens, {} pages of {} tokens, {} sinks and window of {} "
                     "in {}, {} shards "
                     "on {} device{}, summaries: {}",
                     grouped(x.sequences), x.sequences == 1 ? "" : "s", grouped(x.context),
                     to_string(x.stored), x.page_tokens, x.sinks, x.window, to_string(x.raw),
                     x.shards, x.gpus, x.gpus == 1 ? "" : "s", selection);
}

std::string account_table(const byte_account& account) {
  const auto total = account.total();
  text_table table{{{"on the fullest device"},
                    {"bytes", align::right},
                    {"", align::right},
                    {"%", align::right}}};
  const auto add = [&](std::string_view title, std::uint64_t bytes) {
    table.add(
        {std::string{title}, grouped(bytes), bytes_text(static_cast<double>(bytes)),
         fmt::format("{:.2f}", 100 * static_cast<double>(bytes) / static_cast<double>(total))});
  };
  for (const auto& p : parts)
    add(p.title, account.*p.bytes);
  add("total", total);
  return table.print("  ");
}

std::string remarks(const plan_request& x, const plan& p) {
  std::string out;
  if (p.holders < x.gpus)
    out += wrapped(fmt::format("Only {} of {} devices own a shard; --shards {} or more uses all.",
                               p.holders, x.gpus, x.gpus),
                   "  ");
  if (p.passing > 0)
    out += wrapped(fmt::format("Besides, appends of {} tokens take up to {} of a home device until "
                               "their pages have moved or are packed.",
                               grouped(x.append_tokens),
                               bytes_text(static_cast<double>(p.passing))),
                   "  ");
  if (x.model.latent())
    out += wrapped("A latent this wide is planned, not served: caches hold heads of up to 256 "
                   "values. Planned as K alone, in the layout of K.",
                   "  ");
  return out;
}

std::string paper_text(const paper_request& in, std::uint32_t layers) {
  const auto out = paper_formulas(in);
  constexpr double value_bytes = 2;
  std::string text = fmt::format("The paper's formulas (arXiv 2508.06526) for L {:.0f}, G {:.0f}, "
                                 "E {:.0f}, S {:.0f}, K {:.0f}, "
                                 "d {:.0f}, rho {:.2f}\n",
                                 in.tokens, in.gpus, in.experts, in.page_tokens, in.kept_pages,
                                 in.dim, in.compression);
  text_table table{{{"formula"}, {"value", align::right}, {"unit"}}};
  table.add({"L/G + L/E", fmt::format("{:.0f}", out.tokens_per_device), "tokens per device"});
  table.add({"M(S) = (2d/rho)(L/(G S) + K S)", fmt::format("{:.0f}", out.values),
             fmt::format("values of one layer ({} in {} layers at 2 bytes)",
                         bytes_text(out.values * layers * value_bytes), layers)});
  table.add({"S* = sqrt(L/(K G))", fmt::format("{:.1f}", out.best_page_tokens), "tokens"});
  table.add({"M* = (4d/rho) sqrt(K L/G)", fmt::format("{:.0f}", out.best_values),
             fmt::format("values of one layer ({} in {} layers at 2 bytes)",
                         bytes_text(out.best_values * layers * value_bytes), layers)});
  text += table.print("  ");
  text += wrapped(fmt::format("L/G + L/E {}", about_tokens), "  ");
  text += wrapped(fmt::format("M(S) {}", about_values), "  ");
  return text + wrapped(fmt::format("S* {}", about_best), "  ");
}

nlohmann::ordered_json model_json(const kv_model& m) {
  return {{"name", m.name},         {"layers", m.layers}, {"query_heads", m.query_heads},
          {"kv_heads", m.kv_heads}, {"k_dim", m.k_dim},   {"v_dim", m.v_dim},
          {"experts", m.experts},   {"note", m.note}};
}

nlohmann::ordered_json paper_json(const paper_request& in) {
  const auto out = paper_formulas(in);
  return {{"rho", in.compression},
          {"kept_pages", in.kept_pages},
          {"tokens_per_device", out.tokens_per_device},
          {"values_per_layer", out.values},
          {"best_page_tokens", out.best_page_tokens},
          {"best_values_per_layer", out.best_values},
          {"notes", {about_tokens, about_values, about_best}}};
}

} // namespace

paper_request paper_of(const plan_request& x, std::uint32_t kept_pages) noexcept {
  const auto bytes = [&](form f) {
    return static_cast<double>(bytes_of_page(x.model, x.page_tokens, f).total);
  };
  return {.tokens = static_cast<double>(x.context),
          .gpus = static_cast<double>(x.gpus),
          .experts = static_cast<double>(std::max(1U, x.model.experts)),
          .dim = static_cast<double>(x.model.values_per_layer()) / 2,
          .compression = bytes(form::f16) / bytes(x.stored),
          .kept_pages = static_cast<double>(kept_pages),
          .page_tokens = static_cast<double>(x.page_tokens)};
}

std::string plan_text(const plan_request& x, std::string_view selection, std::uint32_t kept_pages) {
  const auto p = make_plan(x);
  std::string out = model_line(x.model) + '\n' + wrapped(x.model.note, "  ");
  out += wrapped(cache_line(x, selection), "") + '\n';
  out += fmt::format("Per layer and sequence: {} settled pages, {} pages of sinks and window ({} "
                     "tokens)\n",
                     grouped(p.pages.settled), p.pages.raw, p.pages.raw_tokens);
  out += account_table(p.device);
  out += remarks(x, p);
  out += fmt::format("All devices: {}, {:.0f} bytes per token in use; K and V alone in 16 bit: {} "
                     "bytes per token (x {:.3f})\n\n",
                     bytes_text(static_cast<double>(p.cache_bytes)), p.bytes_per_token,
                     grouped(static_cast<std::uint64_t>(p.dense_bytes_per_token)),
                     p.bytes_per_token / p.dense_bytes_per_token);
  out += paper_text(paper_of(x, kept_pages), x.model.layers);
  out.pop_back();
  return out;
}

std::string plan_json(const plan_request& x, std::string_view selection, std::uint32_t kept_pages) {
  const auto p = make_plan(x);
  nlohmann::ordered_json device;
  for (const auto& part : parts)
    device[part.key] = p.device.*part.bytes;
  device["total"] = p.device.total();
  const nlohmann::ordered_json out{
      {"model", model_json(x.model)},
      {"context_tokens", x.context},
      {"sequences", x.sequences},
      {"devices", x.gpus},
      {"devices_with_shards", p.holders},
      {"form", to_string(x.stored)},
      {"raw_form", to_string(x.raw)},
      {"page_tokens", x.page_tokens},
      {"window_tokens", x.window},
      {"sink_tokens", x.sinks},
      {"shards", x.shards},
      {"append_tokens", x.append_tokens},
      {"summaries", selection},
      {"pages_per_layer_and_sequence", {{"settled", p.pages.settled}, {"raw", p.pages.raw}}},
      {"table_bytes_per_page", table_bytes_per_page},
      {"fullest_device_bytes", device},
      {"passing_bytes", p.passing},
      {"cache_bytes", p.cache_bytes},
      {"bytes_per_token", p.bytes_per_token},
      {"dense_16bit_bytes_per_token", p.dense_bytes_per_token},
      {"paper", paper_json(paper_of(x, kept_pages))}};
  return out.dump(2);
}

} // namespace pikv::tools
