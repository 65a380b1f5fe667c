// SPDX-License-Identifier: Apache-2.0
// Choices over the pages of several devices, here logical ones on one GPU: each chooses for itself,
// and together they choose what one device with all pages does.
#include <ranges>

#include <pikv/gpu/gather.hpp>

#include "gpu/cuda/choose_problem.hpp"

namespace pikv {
namespace {

using gpu::score_kind;
using test::between;
using test::choose_options;
using test::choose_problem;

constexpr double score_slack = 1e-3; // between the scores of the host and of the GPU

std::uint8_t scores_of(const gpu::choose_args& a) {
  std::uint8_t bits = 0;
  if (a.route.kind == route_kind::mass)
    bits |= 1U << static_cast<unsigned>(score_kind::mass);
  if (a.score != score_kind::none)
    bits |= 1U << static_cast<unsigned>(a.score);
  return bits;
}

/// The pages of a problem dealt out at random, with places to spare.
struct dealt {
  struct device {
    std::vector<std::vector<gpu::page_view>> views;   ///< by sequence
    std::vector<std::vector<std::uint32_t>> indices; ///< of the views, in the problem
    std::vector<gpu::sequence_rows> sequences;
    std::vector<gather_place> places;
  };
  std::vector<device> devices;

  dealt(const choose_problem& c, std::uint32_t count, std::uint64_t seed) : devices(count) {
    std::mt19937_64 rng(seed);
    for (const auto& s : c.sequences) {
      for (auto& d : devices) {
        d.views.emplace_back();
        d.indices.emplace_back();
      }
      for (std::uint32_t i = 0; i < s.settled.size(); ++i) {
        auto& d = devices[between(rng, 0, count - 1)];
        d.views.back().push_back(s.settled[i]);
        d.indices.back().push_back(i);
      }
      std::uint32_t begin = 0;
      for (auto& d : devices) {
        const auto own = static_cast<std::uint32_t>(d.views.back().size());
        d.places.push_back({begin, own + between(rng, 0, 3), 0});
        begin += d.places.back().capacity;
      }
      for (auto& d : devices)
        d.places.back().pages = begin;
    }
    for (auto& d : devices)
      for (std::size_t s = 0; s < c.sequences.size(); ++s) {
        d.sequences.push_back(c.sequences[s]);
        d.sequences.back().settled = d.views[s];
      }
  }
};

class cuda_gather : public test::queue_test {
protected:
  /// The lists of all devices in the problem's page indices, [row * scopes + scope]; totals and
  /// always_from by device.
  struct outcome {
    std::vector<std::vector<std::uint32_t>> lists;
    std::vector<std::vector<choice_total>> totals;
    std::vector<std::vector<std::uint32_t>> always_from;
  };

  outcome choose(const choose_problem& c, const dealt& x) {
    const auto bits = scores_of(c.args());
    std::vector<std::uint32_t> rows;
    for (const auto& s : c.sequences)
      rows.push_back(s.row_count);
    const gpu::gather_layout layout(c.p.o.dims, x.devices.front().places, rows, bits);
    // One area would do on one GPU; a second one must hold the same.
    const test::device_array<std::byte> first(layout.bytes() + 64), second(layout.bytes() + 64);
    std::byte* areas[] = {first.data(), second.data()};
    for (auto* area : areas)
      test::expect_cuda(cudaMemset(area, 0xFF, layout.bytes()));
    for (const auto& d : x.devices)
      gpu::cuda::cuda_kernels().share({c.p.o.dims, c.scale(), c.q_on_device->ref, d.sequences,
                                       c.p.o.window, bits, d.places, areas},
                                      *queue);
    outcome out;
    out.lists.resize(std::size_t{c.p.rows} * c.p.o.scopes);
    for (std::size_t d = 0; d < x.devices.size(); ++d)
      choose_on(c, x.devices[d], bits, areas[d % 2], out);
    for (auto& list : out.lists)
      std::ranges::sort(list);
    return out;
  }

  void choose_on(const choose_problem& c, const dealt::device& d, std::uint8_t bits,
                 std::byte* area, outcome& out) {
    const test::mapped_array<choice_total> totals(c.p.rows * c.p.o.scopes);
    const test::mapped_array<std::uint32_t> lists(totals.size() * c.p.o.capacity);
    auto args = c.args();
    args.sequences = d.sequences;
    args.gathered = {bits, d.places, area};
    args.totals = totals.data();
    args.lists = lists.data();
    gpu::page_selection selection;
    gpu::cuda::cuda_kernels().choose(args, selection, *queue);
    const auto failed = queue->finish();
    ASSERT_EQ(failed.code, errc::ok) << failed.what;
    out.totals.emplace_back(totals.data(), totals.data() + totals.size());
    auto& always = out.always_from.emplace_back(c.p.rows);
    test::expect_cuda(cudaMemcpy(always.data(), selection.always_from.data(),
                                 always.size() * sizeof(std::uint32_t), cudaMemcpyDeviceToHost));
    for (std::size_t s = 0; s < c.sequences.size(); ++s)
      for (std::uint32_t r = 0; r < c.sequences[s].row_count; ++r)
        for (std::uint32_t scope = 0; scope < c.p.o.scopes; ++scope) {
          const auto i = (std::size_t{c.sequences[s].row_begin} + r) * c.p.o.scopes + scope;
          const auto* list = lists.data() + i * c.p.o.capacity;
          EXPECT_TRUE(std::is_sorted(list, list + totals[i].pages));
          for (std::uint32_t k = 0; k < totals[i].pages; ++k) {
            ASSERT_LT(list[k], d.indices[s].size());
            out.lists[i].push_back(d.indices[s][list[k]]);
          }
        }
  }

  void check(const choose_options& o, std::uint64_t seed, std::uint32_t devices) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << devices << " devices");
    const choose_problem c(o, seed);
    const dealt x(c, devices, seed);
    const auto made = choose(c, x);
    if (HasFailure())
      return;
    for (std::size_t s = 0; s < c.sequences.size(); ++s)
      for (std::uint32_t r = 0; r < c.sequences[s].row_count; ++r) {
        const auto plan = test::plan_row(c.p, s, r);
        const auto row = c.sequences[s].row_begin + r;
        for (std::size_t d = 0; d < devices; ++d) {
          const auto& indices = x.devices[d].indices[s];
          EXPECT_EQ(made.always_from[d][row],
                    std::ranges::count_if(indices, [&](auto i) { return i < plan.old; }));
        }
        for (std::uint32_t scope = 0; scope < o.select.scopes; ++scope) {
          const auto i = std::size_t{row} * o.select.scopes + scope;
          test::expect_list(c.p, s, r, scope, plan, made.lists[i], score_slack);
          for (auto total : made.totals | std::views::transform([i](auto& t) { return t[i]; })) {
            total.pages = static_cast<std::uint32_t>(made.lists[i].size()); // own ones: seen above
            test::expect_total(c.p, s, plan, made.lists[i], total);
          }
          if (HasFailure())
            return;
        }
      }
  }
};

TEST_F(cuda_gather, devices_choose_together_what_the_policies_say) {
  std::uint64_t seed = 0;
  for (const auto route : {route_kind::all, route_kind::gate_top_k, route_kind::mass})
    for (const auto score : {score_kind::none, score_kind::mass, score_kind::quest})
      for (const std::uint32_t scopes : {1U, 2U})
        for (const auto& budget : {select_budget{0, 0.2}, select_budget{9, 0.5}}) {
          ++seed;
          check({{.max_pages = 60,
                  .scopes = scopes,
                  .budget = budget,
                  .route = route,
                  .k = 1 + static_cast<std::uint32_t>(seed % 3),
                  .capacity = 60},
                 score,
                 seed % 2 == 0},
                seed, 1 + static_cast<std::uint32_t>(seed % 4));
          if (HasFailure())
            return;
        }
}

TEST_F(cuda_gather, long_sequences_and_keys_beyond_shared_memory) {
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    check({{.dims = {16, 4, 64, 8},
            .sequences = 3,
            .max_pages = seed == 2 ? 45000U : 900U,
            .max_rows = 4,
            .scopes = 4,
            .budget = {.share = 0.1},
            .route = route_kind::mass,
            .k = 3,
            .capacity = seed == 2 ? 5000U : 100U},
           seed % 2 == 0 ? score_kind::mass : score_kind::quest},
          200 + seed, 3);
}

TEST_F(cuda_gather, equal_scores_rank_by_position_wherever_the_pages_lie) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    choose_problem c({{.sequences = 2,
                       .max_pages = 300,
                       .gone = seed % 2 == 0,
                       .budget = {.share = 0.3},
                       .capacity = 300},
                      score_kind::quest},
                     400 + seed);
    // Queries of zeros bound all pages alike.
    const auto& d = c.p.o.dims;
    test::expect_cuda(cudaMemset(c.q_on_device->memory.data(), 0,
                                 std::size_t{c.p.rows} * d.query_heads * d.head_dim * 2));
    const auto made = choose(c, dealt(c, 4, seed));
    for (std::size_t s = 0; s < c.sequences.size() && !HasFailure(); ++s)
      for (std::uint32_t r = 0; r < c.sequences[s].row_count; ++r) {
        const auto plan = test::plan_row(c.p, s, r);
        std::vector<std::uint32_t> first;
        for (std::uint32_t i = 0; i < plan.old; ++i)
          if (plan.allowed[i] && first.size() < test::wanted_of(c.p.o, plan))
            first.push_back(i);
        for (std::uint32_t scope = 0; scope < c.p.o.scopes; ++scope)
          EXPECT_EQ(made.lists[(c.sequences[s].row_begin + r) * c.p.o.scopes + scope], first);
      }
  }
}

TEST_F(cuda_gather, a_device_with_more_pages_than_places_is_an_error) {
  const choose_problem c({{.max_pages = 40}, score_kind::mass}, 500);
  dealt x(c, 1, 1);
  for (auto& p : x.devices.front().places)
    p.capacity = 0;
  std::byte* no_areas[] = {nullptr};
  gpu::cuda::cuda_kernels().share({c.p.o.dims, 1, c.q_on_device->ref, x.devices.front().sequences,
                                   c.p.o.window, 0, x.devices.front().places, no_areas},
                                  *queue);
  EXPECT_EQ(queue->finish().code, errc::internal);
}

} // namespace
} // namespace pikv
