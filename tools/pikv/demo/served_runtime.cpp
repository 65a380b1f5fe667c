// SPDX-License-Identifier: Apache-2.0
#include "demo/served_runtime.hpp"

#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace pikv::tools {

result<runtime*> served_runtime::start(config::settings settings) {
  runtime_.reset();
  address_ = settings.metrics.address;
  settings.metrics.enabled = true;
  settings.metrics.port = port_;
  auto started = runtime::start(settings);
  if (!started && started.code() == errc::io_failed && port_ != 0) {
    settings.metrics.port = 0;
    auto again = runtime::start(settings);
    if (again)
      fmt::print(stderr, "note: port {} is taken; metrics are at a free one\n", port_);
    started = std::move(again);
  }
  if (!started)
    return started.error();
  return keep(std::move(*started));
}

result<runtime*> served_runtime::follow(const std::string& file) {
  runtime_.reset();
  auto started = runtime::from_file(file);
  if (!started)
    return started.error();
  address_ = started->settings().metrics.address;
  return keep(std::move(*started));
}

runtime* served_runtime::keep(runtime x) {
  runtime_.emplace(std::move(x));
  port_ = runtime_->status().metrics_port;
  if (const auto now = url(); now != announced_) {
    fmt::print(stderr, "metrics: {}\n", now);
    announced_ = now;
  }
  return &*runtime_;
}

std::string served_runtime::url() const {
  if (!runtime_ || port_ == 0)
    return {};
  return fmt::format("http://{}:{}/metrics", address_, port_);
}

} // namespace pikv::tools
