// SPDX-License-Identifier: Apache-2.0
/// \file
/// The kernel table: every operation on cache bytes, one implementation per backend.
///
/// Kernels validate nothing: shapes are checked where requests enter. They run inside a stream
/// (device.hpp), so all memory they are given must stay valid until the stream has passed them.
/// Arithmetic is f32; stored values are read in whatever form a page has. Nothing here blocks or
/// throws. On the host backend a kernel spreads its work over `executor`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <pikv/gpu/page_layout.hpp>
#include <pikv/messages/choice.hpp>
#include <pikv/messages/types.hpp>

namespace pikv::gpu {

class executor; // host/worker_pool.hpp: runs n independent tasks on a device's threads

/// A strided buffer of the engine, `[rows, heads, dim]`; dim is contiguous. Strides in elements.
struct tensor_ref {
  std::byte* data = nullptr;
  dtype type = dtype::f32;
  std::uint64_t row_stride = 0;
  std::uint64_t head_stride = 0;
};

/// One page as kernels see it. A null `data` is a page that is gone (evicted): skip it.
struct page_view {
  const std::byte* data = nullptr;    ///< `layout_of(dims, stored)`
  const std::byte* summary = nullptr; ///< `summary_layout_of(dims, summary_parts)` or null
  std::uint32_t first_position = 0;   ///< position of slot 0; slot i has first_position + i
  std::uint16_t tokens = 0;           ///< filled slots, 1 to page_tokens
  form stored = form::f32;
  std::uint8_t summary_parts = summary_none;
  shard_id shard{};
};

// -- append -------------------------------------------------------------------------------------

/// Where one appended token goes: a slot of a raw page.
struct append_target {
  std::byte* page = nullptr;
  std::uint32_t row = 0; ///< row of k and v
  std::uint16_t slot = 0;
};

struct append_args {
  cache_dims dims;
  form stored = form::f32; ///< raw form of the pages
  tensor_ref k, v;         ///< `[rows, kv_heads, head_dim]`
  std::span<const append_target> targets;
};

// -- summaries and codecs -----------------------------------------------------------------------

struct summarise_args {
  cache_dims dims;
  std::uint8_t parts = summary_none;
  std::span<const page_view> pages; ///< any form; `summary` is ignored
  std::span<std::byte* const> out;  ///< one summary per page
};

/// Squared errors of one encoded page, for the fidelity meters. Sums over all heads and tokens.
struct codec_error {
  double k_error = 0, k_norm = 0; ///< sum (k - k')^2, sum k^2
  double v_error = 0, v_norm = 0;
  bool representable = true; ///< false: a value is not finite, or a scale or min beyond f16; the
                             ///< output is unusable
};

struct encode_args {
  cache_dims dims;
  form target = form::int8;
  std::span<const page_view> pages; ///< raw pages
  std::span<std::byte* const> out;  ///< `layout_of(dims, target)` each
  std::span<codec_error> errors;    ///< one per page
};

struct decode_args {
  cache_dims dims;
  form target = form::f32;          ///< a raw form
  std::span<const page_view> pages; ///< any form
  std::span<std::byte* const> out;
};

// -- scores -------------------------------------------------------------------------------------

/// What a score estimates. mass: log n + q.mean/sqrt(d) + 1/2 sum_c (q_c/sqrt(d))^2 var_c, the
/// second-order estimate of the log of the page's sum of exp(logit). quest: the upper bound
/// sum_c max(q_c min_c, q_c max_c)/sqrt(d) of any logit in the page (Quest, arXiv 2406.10774).
enum class score_kind : std::uint8_t { none, mass, quest };

/// A backend's own copy of a page table, in its device's memory (device::make_mirror). Kernels bring
/// it up to date when they need it; whoever holds a list for a kernel holds its mirror too.
class table_mirror {
public:
  virtual ~table_mirror() = default;
  virtual std::size_t bytes() const noexcept = 0; ///< of device memory
};

/// Views that a copy of a page table takes room for when it first holds `views` or has to grow to
/// them: some more, so that a growing table does not move at every step.
constexpr std::size_t table_copy_views(std::size_t views) noexcept {
  return std::max<std::size_t>(64, views + views / 2);
}

/// The settled pages of one (sequence, layer), ascending positions. Lists of one edition extend each
/// other: of two, one begins with the other. So a mirror has to fetch only what is new.
struct page_list {
  std::span<const page_view> views;
  table_mirror* mirror = nullptr; ///< null: the backend keeps none
  std::uint64_t edition = 0;      ///< with a mirror

  page_list() = default;
  page_list(std::span<const page_view> x) : views(x) {}
  page_list(const std::vector<page_view>& x) : views(x) {}
  page_list(std::span<const page_view> x, table_mirror* m, std::uint64_t e)
      : views(x), mirror(m), edition(e) {}

  std::size_t size() const noexcept { return views.size(); }
  bool empty() const noexcept { return views.empty(); }
  const page_view& operator[](std::size_t i) const noexcept { return views[i]; }
  auto begin() const noexcept { return views.begin(); }
  auto end() const noexcept { return views.end(); }
};

/// Rows `row_begin ... + row_count` of the batch belong to one sequence; row i has position
/// `first_position + i`.
struct sequence_rows {
  page_list settled;
  std::span<const page_view> window; ///< raw pages that every row reads (causally); no summaries
  std::uint32_t row_begin = 0;
  std::uint32_t row_count = 0;
  std::uint32_t first_position = 0;
};

struct score_args {
  cache_dims dims;
  score_kind kind = score_kind::mass;
  float scale = 1; ///< 1 / sqrt(head_dim)
  tensor_ref q;    ///< `[rows, query_heads, head_dim]`
  std::span<const sequence_rows> sequences;
  /// f32 `[row, query_head, settled page of the row's sequence]`; sequence i's block begins at
  /// `offsets[i]` (in floats). -inf for pages that are gone.
  float* out = nullptr;
  std::span<const std::uint64_t> offsets;
};

// -- attention ----------------------------------------------------------------------------------

/// Which settled pages a row reads, as index lists (CSR). For row r (of the batch) and scope s the
/// list is `pages[offsets[r * scopes + s]] ... [.. + 1]`, ascending indices into the sequence's
/// `settled`. scopes is 1 (all heads alike) or kv_heads.
/// Besides its list a row reads every settled page with index >= `always_from[r]`.
struct page_selection {
  std::uint32_t scopes = 1;
  std::span<const std::uint32_t> offsets;
  std::span<const std::uint32_t> pages;
  std::span<const std::uint32_t> always_from; ///< one per row
};

struct attend_args {
  cache_dims dims;
  float scale = 1;
  tensor_ref q; ///< `[rows, query_heads, head_dim]`
  std::span<const sequence_rows> sequences;
  const page_selection* selection = nullptr; ///< null: every row reads all its settled pages
  tensor_ref out;                            ///< `[rows, query_heads, head_dim]`
  float* lse = nullptr; ///< `[rows, query_heads]` or null; -inf where a row read nothing (out: 0)
  /// Null, or f32 as `score_args::out`: log of the sum of exp(logit) over the tokens that the row
  /// read in the page; -inf for what it did not read. Subtract lse for the log of the mass.
  float* page_lse = nullptr;
  std::span<const std::uint64_t> page_lse_offsets;
};

/// What a backend that chooses serves.
inline constexpr std::uint32_t choose_most_shards = 1024;
inline constexpr std::uint32_t choose_most_query_heads = 256;

/// Lets every device of a choice see this one's pages and their scores for the rows of the batch:
/// writes them to its places in the areas, each memory of one GPU laid out as gather_layout
/// (gpu/gather.hpp) says.
struct share_args {
  cache_dims dims;
  float scale = 1;
  tensor_ref q; ///< `[rows, query_heads, head_dim]`
  std::span<const sequence_rows> sequences;
  std::uint32_t window = 0;              ///< as choose_args
  std::uint8_t scores = 0;               ///< bits: 1 << score_kind
  std::span<const gather_place> places;  ///< one per sequence
  std::span<std::byte* const> areas;     ///< at most share_most_areas
};
inline constexpr std::size_t share_most_areas = 16;

/// An area that all devices of a choice have shared their pages in.
struct gathered_pages {
  std::uint8_t scores = 0; ///< as share_args
  std::span<const gather_place> places;
  std::byte* area = nullptr; ///< on this GPU; null: the pages lie on one device and nothing is shared
};

/// Routes and selects for every row of a batch: the meaning of policies/routing and
/// policies/selection, said as rules. All settled pages lie on this device, or those of all devices
/// were gathered: then the same choice is made on each, and its selection names its own pages. Old
/// pages are settled pages outside the row's window (`first_position + tokens + window <= position +
/// 1`); a row reads the younger ones in any case. Equal scores rank by position, lower first.
struct choose_args {
  cache_dims dims;
  float scale = 1;
  tensor_ref q; ///< `[rows, query_heads, head_dim]`
  std::span<const sequence_rows> sequences;
  std::uint32_t rows = 0; ///< of the batch
  std::uint32_t window = 0;
  std::uint32_t shards = 0;
  std::uint32_t experts = 0;
  route_rule route;
  const float* gate_logits = nullptr;       ///< `[rows, experts]`, for gate_top_k
  const std::uint8_t* gate_known = nullptr; ///< `[rows]`; rows without a gate read every shard
  score_kind score = score_kind::none;      ///< what pages are ranked by; none: all of the route
  select_budget budget;                     ///< with a score
  std::uint32_t scopes = 1;                 ///< 1 or kv_heads
  std::uint32_t capacity = 0; ///< at least the pages that any list can come to hold
  gathered_pages gathered;
  /// Out: `[rows, scopes]`, and where asked for (not null) the lists `[rows, scopes, capacity]`:
  /// memory that the host and the device reach. To be read when the stream has passed the kernel.
  choice_total* totals = nullptr;
  std::uint32_t* lists = nullptr;
};

/// Exact merge of partial attentions over disjoint sets of entries (log-sum-exp).
struct merge_args {
  cache_dims dims;
  std::uint32_t rows = 0;
  /// Partials: f32 `[rows, query_heads, head_dim]` and `[rows, query_heads]` each.
  std::span<const float* const> outs;
  std::span<const float* const> lses;
  tensor_ref out;
  float* lse = nullptr; ///< `[rows, query_heads]` or null
};

/// Adds up the attention that each page of one sequence received: sum over rows, mean over heads.
struct page_mass_args {
  std::uint32_t rows = 0;
  std::uint32_t heads = 0; ///< query heads
  std::uint32_t pages = 0;
  const float* page_lse = nullptr; ///< `[rows, heads, pages]`, from attend
  const float* lse = nullptr;      ///< `[rows, heads]` of the whole attention; -inf: read nothing
  float* mass = nullptr;           ///< out: `[pages]`
};

/// Compares an attend with the same attend over everything that is kept.
struct audit_args {
  cache_dims dims;
  std::uint32_t rows = 0;
  tensor_ref out;                  ///< the attend's output
  const float* lse = nullptr;      ///< the attend's lse `[rows, query_heads]`
  const float* full_out = nullptr; ///< f32 `[rows, query_heads, head_dim]`
  const float* full_lse = nullptr; ///< `[rows, query_heads]`
  double* coverage = nullptr;      ///< out: mean over rows and heads of exp(lse - full_lse)
  double* output_error = nullptr;  ///< out: ||out - full_out|| / ||full_out||
};

// -- copies -------------------------------------------------------------------------------------

/// One run of bytes that goes elsewhere: on this device, or to it from another of the same backend.
/// All items of one call go from one memory to one other (or the same), so that a backend asks once
/// which those are. Runs of which both ends are aligned to 16 bytes are fast.
struct copy_item {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::size_t bytes = 0;
};

/// Hashes runs of bytes, to tell whether a copy arrived as it was sent. Hashes of one backend
/// compare with each other only.
struct checksum_args {
  std::span<const std::span<const std::byte>> runs;
  std::span<std::uint64_t> out; ///< one per run
};

/// One backend's implementations. All pointers are set, but for those that say so.
struct kernel_table {
  void (*append)(const append_args&, executor&) noexcept = nullptr;
  void (*summarise)(const summarise_args&, executor&) noexcept = nullptr;
  void (*encode)(const encode_args&, executor&) noexcept = nullptr;
  void (*decode)(const decode_args&, executor&) noexcept = nullptr;
  void (*score)(const score_args&, executor&) noexcept = nullptr;
  /// Both null where a backend leaves the choice to the host. The selection that `choose` fills in
  /// lies in memory of the executor, for kernels of the same task.
  void (*share)(const share_args&, executor&) noexcept = nullptr;
  void (*choose)(const choose_args&, page_selection&, executor&) noexcept = nullptr;
  void (*attend)(const attend_args&, executor&) noexcept = nullptr;
  void (*merge)(const merge_args&, executor&) noexcept = nullptr;
  void (*page_mass)(const page_mass_args&, executor&) noexcept = nullptr;
  void (*audit)(const audit_args&, executor&) noexcept = nullptr;
  void (*copy)(std::span<const copy_item>, executor&) noexcept = nullptr;
  void (*checksum)(const checksum_args&, executor&) noexcept = nullptr;
};

} // namespace pikv::gpu
