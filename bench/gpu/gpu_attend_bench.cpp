// SPDX-License-Identifier: Apache-2.0
// Decode attention on a GPU: every form at several batch shapes, beside a plain read of as many
// bytes in one run, and a plain read of the same pages. These lie scattered at random in a pool
// larger than the cache, and launches rotate among disjoint sets of pages. Times are medians over
// replays of a graph of many launches.
//
//   gpu_attend_bench [--out result.json] [--forms bf16,int8] [--shapes 8x32k,32x4k] [--no-check]
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <sstream>
#include <string>

#include <unistd.h>

#include <pikv/gpu/cuda/attend.hpp>

#include "attend_check.hpp"
#include "attend_report.hpp"
#include "device_memory.hpp"
#include "pool.hpp"

namespace {

using namespace pikv;
using namespace pikv::bench;

constexpr gpu::cache_dims dims{32, 8, 128, 16};
constexpr std::size_t pool_bytes = std::size_t{9} << 29; // 4.8 GB

struct batch_case {
  std::string name;
  std::vector<std::uint32_t> tokens; ///< of each sequence
  std::uint32_t one_of = 0;          ///< reads one of so many pages by lists; 0: all
  bool check = false;
  std::uint32_t scopes = 1; ///< lists of a row
};

std::vector<batch_case> all_cases() {
  std::vector<std::uint32_t> skewed(16, 4096);
  skewed[0] = 65536;
  return {{"1x4k", {4096}, 0, true},
          {"1x32k", {32768}, 0, true},
          {"8x4k", std::vector<std::uint32_t>(8, 4096), 0, true},
          {"1x128k", {131072}},
          {"32x4k", std::vector<std::uint32_t>(32, 4096)},
          {"8x32k", std::vector<std::uint32_t>(8, 32768)},
          {"32x16k", std::vector<std::uint32_t>(32, 16384)},
          {"16x7.75k", std::vector<std::uint32_t>(16, 7936)},
          {"64k+15x4k", skewed},
          {"8x32k 2/8", std::vector<std::uint32_t>(8, 32768), 4, true},
          {"8x32k 1/16", std::vector<std::uint32_t>(8, 32768), 16, true},
          {"8x32k heads", std::vector<std::uint32_t>(8, 32768), 16, false, 8}};
}

/// One set of disjoint pages for a batch, with all that its launch needs.
struct rotation {
  std::vector<gpu::page_view> views;
  std::vector<gpu::cuda::attend_sequence> sequences;
  std::vector<device_memory> memory;
  gpu::cuda::attend_launch launch;
};

class bench_run {
public:
  bench_run(bool check, std::string shapes)
      : check_(check), shapes_(std::move(shapes)), pool_(pool_bytes), sink_(64),
        workspace_(gpu::cuda::attend_workspace_bytes().value()), q_(std::size_t{64} * 32 * 128 * 2),
        out_(std::size_t{64} * 32 * 128 * 4), lse_(std::size_t{64} * 32 * 4) {
    require(cudaStreamCreate(&stream_), "stream");
    fill_bf16(q_.as(), 64 * 32 * 128, 77, stream_);
  }

  void run_form(form stored) {
    stored_ = stored;
    const std::size_t page = gpu::layout_of(dims, stored).page_bytes;
    pages_ = pool_bytes / page;
    fill_pages(pool_.as(), pages_, dims, stored, stream_);
    require(cudaStreamSynchronize(stream_), "fill");
    std::vector<std::uint32_t> order(pages_);
    std::iota(order.begin(), order.end(), 0U);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(5));
    for (const batch_case& c : all_cases())
      if (shapes_.empty() || ("," + shapes_ + ",").find("," + c.name + ",") != std::string::npos)
        run_case(c, order);
  }

  const std::vector<measurement>& results() const { return results_; }
  bool correct() const { return correct_; }

private:
  void run_case(const batch_case& c, const std::vector<std::uint32_t>& order) {
    const std::size_t tokens = std::accumulate(c.tokens.begin(), c.tokens.end(), std::size_t{0});
    const std::size_t pages = tokens / dims.page_tokens;
    const std::size_t count = std::min<std::size_t>(16, pages_ / pages);
    const std::size_t page_bytes = gpu::layout_of(dims, stored_).page_bytes;
    std::vector<rotation> sets;
    for (std::size_t i = 0; i < count; ++i)
      sets.push_back(make_rotation(c, order.data() + i * pages, page_bytes));
    if (check_ && c.check)
      check_sample(c, sets[0]);
    const double bytes = static_cast<double>(pages * page_bytes) / std::max(1U, c.one_of);
    const int launches = static_cast<int>(std::max<std::size_t>(count, 8) / count * count);
    const double us = time_launches(
        stream_, launches, [&](int i) { enqueue(sets[static_cast<std::size_t>(i) % count]); });
    results_.push_back({c.name, stored_, us, roof(static_cast<std::size_t>(bytes)),
                        c.one_of > 0 ? 0 : scattered(sets, launches), bytes});
    print(results_.back(), over_bf16(results_, results_.back()));
  }

  void enqueue(const rotation& r) {
    const auto done = gpu::cuda::attend(r.launch, stream_);
    if (!done) {
      std::fprintf(stderr, "%s\n", done.error().what.c_str());
      std::exit(1);
    }
  }

  rotation make_rotation(const batch_case& c, const std::uint32_t* order, std::size_t page_bytes) {
    rotation r;
    std::size_t next = 0;
    for (const std::uint32_t tokens : c.tokens)
      for (std::uint32_t t = 0; t < tokens; t += dims.page_tokens) {
        gpu::page_view v;
        v.data = pool_.as() + order[next++] * page_bytes;
        v.first_position = t;
        v.tokens = static_cast<std::uint16_t>(dims.page_tokens);
        v.stored = stored_;
        r.views.push_back(v);
      }
    const auto* views = keep<gpu::page_view>(r, r.views);
    std::uint32_t row = 0;
    for (const std::uint32_t tokens : c.tokens) {
      const std::uint32_t n = tokens / dims.page_tokens;
      r.sequences.push_back({views, views, n, 0, row, 1, tokens, 0});
      views += n;
      ++row;
    }
    gpu::cuda::attend_launch& x = r.launch;
    x.dims = dims;
    x.scale = 1 / std::sqrt(128.0F);
    x.q = {q_.as(), dtype::bf16, 32 * 128, 128};
    x.out = {out_.as(), dtype::bf16, 32 * 128, 128};
    x.lse = lse_.as<float>();
    x.sequences = keep<gpu::cuda::attend_sequence>(r, r.sequences);
    x.sequence_count = x.rows = row;
    x.workspace = workspace_.as();
    if (c.one_of > 0)
      select(r, c);
    return r;
  }

  template <class T>
  static T* keep(rotation& r, const std::vector<T>& x) {
    return r.memory.emplace_back(x).template as<T>();
  }

  /// Each list has its share of the pages, at random.
  static void select(rotation& r, const batch_case& c) {
    std::mt19937_64 rng(9);
    std::vector<std::uint32_t> offsets{0}, pages, always;
    std::vector<gpu::cuda::attend_row> rows;
    for (const auto& s : r.sequences) {
      for (std::uint32_t list = 0; list < c.scopes; ++list) {
        std::vector<std::uint32_t> shuffled(s.settled_count);
        std::iota(shuffled.begin(), shuffled.end(), 0U);
        std::shuffle(shuffled.begin(), shuffled.end(), rng);
        shuffled.resize(s.settled_count / c.one_of);
        std::sort(shuffled.begin(), shuffled.end());
        pages.insert(pages.end(), shuffled.begin(), shuffled.end());
        offsets.push_back(static_cast<std::uint32_t>(pages.size()));
      }
      always.push_back(s.settled_count);
      rows.push_back({s.row_begin, s.row_begin});
    }
    r.launch.selected = true;
    r.launch.selection = {c.scopes,       keep(r, offsets),
                          keep(r, pages), keep(r, always),
                          keep(r, rows),  static_cast<std::uint32_t>(rows.size())};
    selected_pages_ = pages;
  }

  /// Compares one query head of the last sequence with float64.
  void check_sample(const batch_case& c, const rotation& r) {
    enqueue(r);
    const gpu::cuda::attend_sequence& s = r.sequences.back();
    const std::size_t first = r.views.size() - s.settled_count;
    std::vector<gpu::page_view> views;
    if (c.one_of == 0)
      views.assign(r.views.begin() + static_cast<std::ptrdiff_t>(first), r.views.end());
    else
      for (std::size_t i = selected_pages_.size() - s.settled_count / c.one_of;
           i < selected_pages_.size(); ++i)
        views.push_back(r.views[first + selected_pages_[i]]);
    const double relative = relative_error(r.launch, s, views, stored_, stream_);
    const bool good = relative < 2e-2;
    correct_ &= good;
    std::printf("  check %-10s %-5s relative error %.2e %s\n", c.name.c_str(),
                std::string(to_string(stored_)).c_str(), relative, good ? "ok" : "WRONG");
  }

  /// Microseconds of a plain read of the same pages in the order of their heads.
  double scattered(const std::vector<rotation>& sets, int launches) {
    const auto head = static_cast<std::uint32_t>(gpu::layout_of(dims, stored_).head_bytes);
    std::vector<device_memory> lists;
    std::size_t pieces = 0;
    for (const rotation& r : sets) {
      std::vector<const std::byte*> list;
      for (std::uint32_t h = 0; h < dims.kv_heads; ++h)
        for (const gpu::page_view& v : r.views)
          list.push_back(v.data + std::size_t{h} * head);
      pieces = list.size();
      lists.emplace_back(list);
    }
    return time_launches(stream_, launches, [&](int i) {
      read_pieces(lists[static_cast<std::size_t>(i) % lists.size()].as<const std::byte*>(), pieces,
                  head / 16 * 16, sink_.as<std::uint32_t>(), stream_);
    });
  }

  /// Microseconds of a plain read of as many bytes from rotating places.
  double roof(std::size_t bytes) {
    const auto known = roofs_.find(bytes);
    if (known != roofs_.end())
      return known->second;
    const std::size_t count = std::clamp<std::size_t>(pool_bytes / bytes, 1, 16);
    const int launches = static_cast<int>(std::max<std::size_t>(count, 8) / count * count);
    const double us = time_launches(stream_, launches, [&](int i) {
      const std::size_t at = static_cast<std::size_t>(i) % count * (bytes / 256 * 256);
      read_all(pool_.as() + at, bytes / 16 * 16, sink_.as<std::uint32_t>(), stream_);
    });
    return roofs_[bytes] = us;
  }

  bool check_;
  std::string shapes_; ///< names, comma-separated; empty: all
  bool correct_ = true;
  cudaStream_t stream_ = nullptr;
  device_memory pool_, sink_, workspace_, q_, out_, lse_;
  form stored_ = form::bf16;
  std::size_t pages_ = 0;
  std::map<std::size_t, double> roofs_;
  std::vector<measurement> results_;
  static inline std::vector<std::uint32_t> selected_pages_;
};

} // namespace

int main(int argc, char** argv) {
  alarm(240);
  std::string out, shapes, forms = "bf16,f16,fp8,int8,int4";
  bool check = true;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--out" && i + 1 < argc)
      out = argv[++i];
    else if (arg == "--forms" && i + 1 < argc)
      forms = argv[++i];
    else if (arg == "--shapes" && i + 1 < argc)
      shapes = argv[++i];
    else if (arg == "--no-check")
      check = false;
  }
  cudaDeviceProp device{};
  int driver = 0;
  require(cudaGetDeviceProperties(&device, 0), "no CUDA device");
  require(cudaDriverGetVersion(&driver), "driver");
  std::printf("%s, CUDA driver %d.%d, %d multiprocessors, pages of %u tokens\n", device.name,
              driver / 1000, driver % 1000 / 10, device.multiProcessorCount, dims.page_tokens);
  const std::map<std::string, form> names = {{"bf16", form::bf16},
                                             {"f16", form::f16},
                                             {"fp8", form::fp8},
                                             {"int8", form::int8},
                                             {"int4", form::int4}};
  bench_run run(check, shapes);
  std::stringstream list(forms);
  for (std::string name; std::getline(list, name, ',');)
    if (const auto x = names.find(name); x != names.end())
      run.run_form(x->second);
  if (!out.empty())
    write_json(out.c_str(), run.results(), device.name, driver);
  return run.correct() ? 0 : 1;
}
