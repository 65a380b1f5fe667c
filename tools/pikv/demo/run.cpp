// SPDX-License-Identifier: Apache-2.0
#include "demo/run.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include <moe_engine/dense_store.hpp>
#include <moe_engine/pikv_store.hpp>
#include <moe_engine/thread_team.hpp>

#include <pikv/gpu/trace.hpp>

namespace pikv::tools {

namespace {

using moe_engine::evaluation_progress;
using moe_engine::evaluation_result;

result<std::unique_ptr<moe_engine::kv_store>> make_store(const demo_row& row, const demo_base& base,
                                                         served_runtime& server,
                                                         moe_engine::thread_team& team) {
  if (row.plain)
    return std::make_unique<moe_engine::dense_store>(base.shape, base.stored, team);
  auto running = server.start(settings_of(row, base));
  if (!running)
    return running.error();
  auto opened = (*running)->open(base.shape);
  if (!opened)
    return opened.error();
  return std::make_unique<moe_engine::pikv_store>(std::move(*opened));
}

row_outcome outcome_of(const demo_row& row, const evaluation_result& x) {
  row_outcome out;
  out.name = row.name;
  out.kv_bytes = x.kv_bytes_per_token();
  out.read_share = x.read_share();
  if (x.predictions > 0)
    out.bits_per_byte = x.bits_per_byte;
  if (x.needles > 0)
    out.needle = x.needle_accuracy();
  if (x.coverage_samples > 0)
    out.coverage = x.coverage;
  out.tokens_per_second = x.tokens_per_second();
  out.entries = x.entries;
  return out;
}

/// What the dense row keeps per token: as measured where it ran, else plain arrays' arithmetic.
double dense_bytes(std::span<const row_outcome> outcomes, const demo_base& base) {
  const auto dense = std::ranges::find(outcomes, "dense", &row_outcome::name);
  return dense != outcomes.end() ? dense->kv_bytes : plain_bytes_per_token(base);
}

} // namespace

result<void> run_rows(std::span<const demo_row> rows, const demo_base& base,
                      const demo_input& input, served_runtime& server, const run_callback& callback,
                      std::vector<row_outcome>& outcomes) {
  moe_engine::thread_team team{base.threads};
  const gpu::trace::track track{"rows"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const gpu::trace::scope span{track, rows[i].name.data()}; // a literal
    auto store = make_store(rows[i], base, server, team);
    if (!store)
      return store.error();
    const auto progress = [&](const evaluation_progress& x) {
      const double speed = x.seconds > 0 ? static_cast<double>(x.tokens_done) / x.seconds : 0;
      return callback(
          {rows[i].name, i, rows.size(), x.tokens_done, x.tokens_total, speed, x.bits_per_byte});
    };
    const auto measured =
        moe_engine::evaluate(input.model, **store, team, input.text, input.options, progress);
    if (!measured)
      return measured.error();
    auto outcome = outcome_of(rows[i], *measured);
    outcome.kv_share = rows[i].plain ? 1.0 : outcome.kv_bytes / dense_bytes(outcomes, base);
    outcomes.push_back(std::move(outcome));
  }
  return {};
}

} // namespace pikv::tools
