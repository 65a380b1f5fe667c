// SPDX-License-Identifier: Apache-2.0
#include <pikv/gpu/trace.hpp>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <ostream>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace pikv::gpu::trace {

namespace {

struct span {
  const char* label;
  clock::time_point begin, end;
  std::uint32_t line;
};

struct line {
  std::string name;
  std::uint32_t nth = 1; ///< of those with the same name that were alive at once
  bool taken = true;
};

struct recorder {
  std::mutex lock; // guards the rest
  clock::time_point started;
  std::size_t most = 0;
  std::size_t dropped = 0;
  std::vector<span> spans;
  std::vector<line> lines;
};

/// Never destroyed: streams in static objects may end after everything else.
recorder& all() {
  static auto& x = *new recorder;
  return x;
}

double microseconds(clock::duration x) {
  return std::chrono::duration<double, std::micro>(x).count();
}

std::string quoted(std::string_view x) {
  std::string out = "\"";
  for (const char c : x)
    if (c == '"' || c == '\\')
      out.append({'\\', c});
    else if (static_cast<unsigned char>(c) < 0x20)
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    else
      out += c;
  return out + '"';
}

/// The viewer shows a process with a thread for each line, in the order of `sort_index`.
void write_lines(std::ostream& out, const std::vector<line>& lines) {
  out << R"({"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"pikv"}})";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto& x = lines[i];
    const auto name = x.nth == 1 ? x.name : fmt::format("{} #{}", x.name, x.nth);
    out << fmt::format(",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{},\"args\":{{"
                       "\"name\":{}}}}}",
                       i + 1, quoted(name));
    out << fmt::format(",\n{{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,\"tid\":{0},"
                       "\"args\":{{\"sort_index\":{0}}}}}",
                       i + 1);
  }
}

void write_span(std::ostream& out, const span& x, clock::time_point started) {
  out << fmt::format(
      ",\n{{\"name\":{},\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}",
      quoted(x.label), x.line + 1, microseconds(x.begin - started), microseconds(x.end - x.begin));
}

} // namespace

void start(std::size_t most_spans) {
  auto& r = all();
  const std::lock_guard guard(r.lock);
  r.spans.clear();
  r.spans.reserve(most_spans); // none is allocated while streams work
  r.most = most_spans;
  r.dropped = 0;
  r.started = clock::now();
  detail::active.store(true, std::memory_order_relaxed);
}

void stop() noexcept { detail::active.store(false, std::memory_order_relaxed); }

span_count count() noexcept {
  auto& r = all();
  const std::lock_guard guard(r.lock);
  return {r.spans.size(), r.dropped};
}

void write(std::ostream& out) {
  auto& r = all();
  const std::lock_guard guard(r.lock);
  out << "{\"displayTimeUnit\":\"ms\",\n";
  out << fmt::format("\"otherData\":{{\"spans\":{},\"dropped_spans\":{},\"most_spans\":{}}},\n",
                     r.spans.size(), r.dropped, r.most);
  out << "\"traceEvents\":[\n";
  write_lines(out, r.lines);
  for (const auto& x : r.spans)
    write_span(out, x, r.started);
  out << "\n]}\n";
}

track::track(std::string name) {
  auto& r = all();
  const std::lock_guard guard(r.lock);
  std::uint32_t alike = 0;
  for (std::size_t i = 0; i < r.lines.size(); ++i) {
    if (r.lines[i].name != name)
      continue;
    if (!std::exchange(r.lines[i].taken, true)) {
      line_ = static_cast<std::uint32_t>(i);
      return;
    }
    ++alike;
  }
  line_ = static_cast<std::uint32_t>(r.lines.size());
  r.lines.push_back({std::move(name), alike + 1, true});
}

track::~track() {
  auto& r = all();
  const std::lock_guard guard(r.lock);
  r.lines[line_].taken = false;
}

void track::add(const char* label, clock::time_point begin, clock::time_point end) const noexcept {
  if (!on())
    return;
  auto& r = all();
  const std::lock_guard guard(r.lock);
  if (begin < r.started)
    return;
  if (r.spans.size() == r.most)
    ++r.dropped;
  else
    r.spans.push_back({label, begin, end, line_});
}

} // namespace pikv::gpu::trace
