// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/file_watcher.hpp>

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <uv.h>

namespace pikv::config {

namespace {
constexpr unsigned poll_ms = 250;  // a stat four times a second
constexpr unsigned quiet_ms = 200; // after the last change that was seen
} // namespace

class file_watcher::impl {
public:
  ~impl() {
    if (thread_.joinable()) {
      uv_async_send(&stop_);
      thread_.join();
    }
  }

  result<void> start(const std::string& path, std::function<void()> changed) {
    changed_ = std::move(changed);
    if (auto rc = uv_loop_init(&loop_); rc != 0)
      return failed("uv_loop_init", rc);
    path_ = path;
    seen_ = look(); // before the thread runs: a change right after start must not be the baseline
    for (auto* h :
         {reinterpret_cast<uv_handle_t*>(&poll_), reinterpret_cast<uv_handle_t*>(&timer_),
          reinterpret_cast<uv_handle_t*>(&signal_), reinterpret_cast<uv_handle_t*>(&stop_)})
      h->data = this;
    uv_async_init(&loop_, &stop_, [](uv_async_t* h) { static_cast<impl*>(h->data)->close(); });
    uv_timer_init(&loop_, &timer_);
    uv_timer_init(&loop_, &poll_);
    uv_signal_init(&loop_, &signal_);
    int rc = seen_ ? uv_timer_start(&poll_, on_poll, poll_ms, poll_ms) : UV_ENOENT;
    if (rc == 0)
      rc = uv_signal_start(&signal_, on_signal, SIGHUP);
    thread_ = std::thread{[this] {
      uv_run(&loop_, UV_RUN_DEFAULT);
      uv_loop_close(&loop_);
    }};
    if (rc != 0)
      return failed("watching " + path, rc);
    return {};
  }

private:
  static error failed(const std::string& what, int rc) {
    return {errc::io_failed, fmt::format("{}: {}", what, uv_strerror(rc))};
  }

  /// What tells two states of a file apart.
  struct file_state {
    std::uint64_t inode = 0, size = 0;
    std::int64_t seconds = 0, nanoseconds = 0;
    bool operator==(const file_state&) const = default;
  };

  /// Empty while the file is gone, as it is for a moment when an editor replaces it.
  std::optional<file_state> look() {
    uv_fs_t request;
    std::optional<file_state> state;
    if (uv_fs_stat(&loop_, &request, path_.c_str(), nullptr) == 0) {
      const auto& s = request.statbuf;
      state = file_state{s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
    }
    uv_fs_req_cleanup(&request);
    return state;
  }

  static void on_poll(uv_timer_t* h) {
    auto& self = *static_cast<impl*>(h->data);
    auto now = self.look();
    if (!now || now == self.seen_)
      return;
    self.seen_ = now;
    self.wait_until_quiet();
  }

  static void on_signal(uv_signal_t* h, int) { static_cast<impl*>(h->data)->changed_(); }

  void wait_until_quiet() {
    uv_timer_start(
        &timer_, [](uv_timer_t* h) { static_cast<impl*>(h->data)->changed_(); }, quiet_ms, 0);
  }

  void close() {
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&signal_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&stop_), nullptr);
  }

  std::function<void()> changed_;
  uv_loop_t loop_{};
  std::string path_;
  std::optional<file_state> seen_;
  uv_timer_t poll_{};
  uv_timer_t timer_{};
  uv_signal_t signal_{};
  uv_async_t stop_{};
  std::thread thread_;
};

result<file_watcher> file_watcher::start(const std::string& path, std::function<void()> changed) {
  auto x = std::make_unique<impl>();
  if (auto r = x->start(path, std::move(changed)); !r)
    return r.error();
  return file_watcher{std::move(x)};
}

file_watcher::file_watcher(std::unique_ptr<impl> x) noexcept : impl_(std::move(x)) {}
file_watcher::file_watcher(file_watcher&&) noexcept = default;
file_watcher& file_watcher::operator=(file_watcher&&) noexcept = default;
file_watcher::~file_watcher() = default;

} // namespace pikv::config
