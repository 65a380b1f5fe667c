// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/runtime.hpp>

#include <cmath>
#include <condition_variable>
#include <optional>
#include <stop_token>
#include <thread>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <fmt/format.h>

#include <pikv/actors/cache_impl.hpp>
#include <pikv/actors/config_state.hpp>
#include <pikv/actors/config_watcher_actor.hpp>
#include <pikv/actors/http_handlers.hpp>
#include <pikv/actors/input_checks.hpp>
#include <pikv/actors/metrics_actor.hpp>
#include <pikv/actors/supervisor_actor.hpp>
#include <pikv/config/config.hpp>
#include <pikv/config/file_watcher.hpp>
#include <pikv/monitoring/http_server.hpp>
#include <pikv/policies/table.hpp>

namespace pikv {

namespace {

constexpr auto sweep_interval = std::chrono::milliseconds{5};
constexpr auto metrics_interval = std::chrono::milliseconds{1000};

/// CAF's options from ours. The figures behind the profiles are in docs/decisions.md.
struct actor_config : caf::actor_system_config {
  explicit actor_config(const config::runtime_settings& s) {
    add_message_types<caf::id_block::pikv>();
    set("scheduler.max-threads", static_cast<std::size_t>(s.actor_threads));
    if (s.latency == config::latency_profile::low)
      set("work-stealing.aggressive-poll-attempts", std::size_t{1'000'000});
    else if (s.latency == config::latency_profile::balanced)
      set("work-stealing.aggressive-poll-attempts", std::size_t{10'000});
    set("logger.console", caf::atom("none"));
  }
};

std::chrono::microseconds spin_of(config::latency_profile x) noexcept {
  switch (x) {
  case config::latency_profile::low: return std::chrono::microseconds{2000};
  case config::latency_profile::balanced: return std::chrono::microseconds{50};
  case config::latency_profile::idle: break;
  }
  return std::chrono::microseconds{0};
}

std::uint32_t threads_of(const config::device_settings& s) noexcept {
  if (s.threads > 0)
    return s.threads;
  return std::max(1U, std::thread::hardware_concurrency() / s.count);
}

result<void> add_devices(cache_context& c) {
  const auto& s = c.settings.devices;
  for (std::uint32_t d = 0; d < s.count; ++d) {
    gpu::device_options o;
    o.id = {d};
    o.memory_bytes = s.memory_bytes;
    o.scratch_bytes = s.scratch_bytes;
    o.exchange_bytes = s.count > 1 ? s.exchange_bytes : 0;
    o.threads = threads_of(s);
    o.spin = spin_of(c.settings.runtime.latency);
    o.peers_required = c.settings.transfer.path == move_path::peer;
    auto made = gpu::make_device(s.backend, o);
    if (!made)
      return made.error();
    if (auto r = (*made)->supports(c.dims, c.raw); !r)
      return r.error();
    device_entry e;
    e.device = std::move(*made);
    e.compute = e.device->make_stream(gpu::stream_role::compute);
    e.codec = e.device->make_stream(gpu::stream_role::codec);
    e.copy = e.device->make_stream(gpu::stream_role::copy);
    if (!e.compute || !e.codec || !e.copy)
      return {errc::io_failed, "the system gives no more threads; lower devices.count"};
    c.devices.push_back(std::move(e));
  }
  for (std::size_t l = 0; l < c.lanes.size(); ++l) {
    auto& device = *c.devices[l % c.devices.size()].device;
    c.lanes[l].stream = device.make_stream(gpu::stream_role::lane);
    if (!c.lanes[l].stream)
      return {errc::io_failed, "the system gives no more threads; lower runtime.lanes"};
  }
  return {};
}

result<void> add_movers(cache_context& c) {
  std::vector<gpu::transport::end_point> ends;
  for (const auto& x : c.devices)
    ends.push_back({x.device, x.copy.get()});
  auto made = gpu::transport::page_movers::make(c.settings.transfer.path, std::move(ends));
  if (!made)
    return made.error();
  c.movers = std::move(*made);
  return {};
}

/// Refuses a compression whose pages a device has no kernels for.
result<void> check_forms(const cache_context& c, const policy_set& x) {
  if (x.compression->keeps_raw())
    return {};
  for (const auto& d : c.devices)
    if (auto r = gpu::check_form(*d.device, x.compression->choose({}, c.raw)); !r)
      return r;
  return {};
}

/// A model that only serves to check policies before a cache is open.
constexpr model_shape any_shape{1, 1, 1, 32, 16};

} // namespace

class runtime::impl {
public:
  explicit impl(config::settings s, std::string file)
      : state_(std::make_shared<config_state>(std::move(s), std::move(file))),
        metrics_(std::make_shared<monitoring::metrics>(state_->settings().devices.backend)),
        actor_config_(state_->settings().runtime), system_(actor_config_) {}

  ~impl() { stop(); }

  result<void> start() {
    auto apply = [this](const config::settings& next, std::uint64_t version) -> result<void> {
      std::lock_guard guard{mutex_};
      auto p = make_policy_set(next, context_ ? context_->shape : any_shape, version);
      if (!p)
        return p.error();
      if (context_)
        if (auto r = check_forms(*context_, **p); !r)
          return r;
      if (context_)
        context_->policies.put(std::move(*p));
      return {};
    };
    auto settings = state_->settings();
    if (auto r = make_policy_set(settings, any_shape, 1); !r)
      return r.error();
    if (settings.cache.sinks > settings.cache.page_tokens)
      return {errc::config_value, fmt::format("cache.sinks: {} is more than a page of {} holds",
                                              settings.cache.sinks, settings.cache.page_tokens)};
    if (auto r = gpu::transport::check_path(settings.transfer.path, settings.devices.backend); !r)
      return r;
    watcher_ = spawn_config_watcher(system_, {state_, apply, metrics_});
    ticker_ = spawn_metrics(system_, metrics_, supervisor_actor{}, watcher_, metrics_interval);
    if (auto r = serve(settings.metrics); !r)
      return r;
    if (!state_->file().empty()) {
      auto w = config::file_watcher::start(state_->file(), [h = watcher_] {
        caf::anon_send(h, reload_work{{}, reload_source::file, {}, "file"});
      });
      if (!w)
        return w.error();
      files_.emplace(std::move(*w));
    }
    return {};
  }

  result<cache> open(const model_shape& shape) {
    if (auto r = check_shape(shape); !r)
      return r.error();
    std::lock_guard guard{mutex_};
    if (stopped_)
      return {errc::cancelled, "the runtime has stopped; start a new one"};
    if (context_)
      return {errc::invalid_argument,
              "this runtime serves a model already; start another runtime for another model"};
    auto s = state_->settings();
    auto c = std::make_shared<cache_context>(s.devices.count, s.runtime.lanes);
    c->settings = s;
    c->shape = shape;
    c->dims = {shape.query_heads, shape.kv_heads, shape.head_dim, s.cache.page_tokens};
    c->raw = raw_form(s.cache.stored);
    c->scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
    c->metrics = metrics_;
    c->shards.start(s.cache.shards, s.devices.count, s.runtime.lanes);
    if (auto r = add_devices(*c); !r)
      return r.error();
    if (auto r = add_movers(*c); !r)
      return r.error();
    auto p = make_policy_set(s, shape, state_->version());
    if (!p)
      return p.error();
    if (auto r = check_forms(*c, **p); !r)
      return r.error();
    c->policies.put(std::move(*p));
    context_ = c;
    supervisor_ = spawn_supervisor(system_, c);
    caf::anon_send_exit(ticker_, caf::exit_reason::user_shutdown);
    ticker_ = spawn_metrics(system_, metrics_, supervisor_, watcher_, metrics_interval);
    sweeper_ = std::jthread{[c](const std::stop_token& stop) { sweep(*c, stop); }};
    return cache{std::make_shared<cache::impl>(std::move(c))};
  }

  completion<std::uint64_t> reload(reload_source source, std::string text, std::string who) {
    auto promise = std::make_shared<detail::completion_state<std::uint64_t>>();
    std::lock_guard guard{mutex_};
    if (stopped_)
      promise->fill(error{errc::cancelled, "the runtime has stopped; start a new one"});
    else
      caf::anon_send(watcher_, reload_work{state_->wait_for(promise), source, std::move(text),
                                           std::move(who)});
    return completion<std::uint64_t>{promise};
  }

  config::settings settings() const { return state_->settings(); }

  runtime_status status() const {
    runtime_status s;
    s.config_version = state_->version();
    std::lock_guard guard{mutex_};
    s.metrics_port = server_ ? server_->port() : std::uint16_t{0};
    if (!context_)
      return s;
    s.sequences = context_->sequences.load();
    s.in_flight = context_->requests.size();
    s.actor_restarts = context_->restarts.load();
    for (std::size_t d = 0; d < context_->devices.size(); ++d) {
      auto& device = *context_->devices[d].device;
      auto usage = device.memory().usage();
      s.devices.push_back({device.describe(), usage.capacity, usage.reserved,
                           !stopped_ && context_->owners.get(d).handle != nullptr});
    }
    return s;
  }

  void stop() {
    context_ptr c;
    {
      std::lock_guard guard{mutex_};
      if (stopped_)
        return;
      stopped_ = true;
      c = context_;
    }
    const error why{errc::cancelled, "the runtime stopped before the request ended"};
    server_.reset();
    files_.reset();
    if (c) {
      std::unique_lock gate{c->gate};
      c->stopped = true;
    }
    state_->answer_all(why);
    caf::anon_send_exit(ticker_, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(watcher_, caf::exit_reason::user_shutdown);
    ticker_ = nullptr;
    watcher_ = nullptr;
    if (c)
      stop_cache(*c, why);
    system_.await_all_actors_done();
  }

private:
  static void sweep(cache_context& c, const std::stop_token& stop) {
    std::mutex m;
    std::condition_variable_any wake;
    std::unique_lock lock{m};
    while (!stop.stop_requested()) {
      wake.wait_for(lock, stop, sweep_interval, [] { return false; });
      c.requests.sweep(request::clock::now());
    }
  }

  void stop_cache(cache_context& c, const error& why) {
    auto end = [](auto& d) {
      for (std::size_t i = 0; i < d.size(); ++i)
        caf::anon_send_exit(d.get(i).handle, caf::exit_reason::user_shutdown);
      d.clear();
    };
    caf::anon_send_exit(supervisor_, caf::exit_reason::user_shutdown);
    supervisor_ = nullptr;
    c.requests.end_all(why);
    end(c.routers);
    end(c.owners);
    end(c.compressors);
    end(c.transfer);
    end(c.scheduler);
    system_.await_all_actors_done();
    // Kernels that still run hold pins: after this no client buffer is touched any more.
    for (auto& d : c.devices)
      for (auto* s : {d.compute.get(), d.codec.get(), d.copy.get()})
        s->synchronize();
    for (auto& l : c.lanes)
      l.stream->synchronize();
    c.movers.synchronize(); // last: a move that hangs ends at its deadline
    sweeper_ = {};
  }

  result<void> serve(const config::metrics_settings& s) {
    if (!s.enabled)
      return {};
    auto token = read_token(s.admin_token_file);
    if (!token)
      return token.error();
    monitoring::http_options o;
    o.address = s.address;
    o.port = s.port;
    o.token = std::move(*token);
    auto server = monitoring::http_server::start(
        o, make_http_handlers(
               {state_, metrics_,
                [this] {
                  const auto x = status();
                  return x.devices.empty() || x.devices.front().alive;
                },
                [this](reload_source source, std::string text, std::string who) {
                  return reload(source, std::move(text), std::move(who));
                }}));
    if (!server)
      return server.error();
    server_.emplace(std::move(*server));
    return {};
  }

  std::shared_ptr<config_state> state_;
  std::shared_ptr<monitoring::metrics> metrics_;
  actor_config actor_config_;
  caf::actor_system system_;
  mutable std::mutex mutex_; // context_, supervisor_, ticker_, stopped_
  bool stopped_ = false;
  context_ptr context_;
  config_watcher_actor watcher_;
  metrics_actor ticker_;
  supervisor_actor supervisor_;
  std::optional<monitoring::http_server> server_;
  std::optional<config::file_watcher> files_;
  std::jthread sweeper_;
};

runtime::runtime(std::unique_ptr<impl> p) noexcept : impl_(std::move(p)) {}
runtime::runtime(runtime&&) noexcept = default;
runtime& runtime::operator=(runtime&&) noexcept = default;
runtime::~runtime() = default;

namespace {

result<void> no_exceptions(const std::function<result<void>()>& f) {
  try {
    return f();
  } catch (const std::exception& e) {
    return {errc::internal, fmt::format("the runtime could not start: {}", e.what())};
  }
}

} // namespace

result<runtime> runtime::start(const config::settings& settings) {
  if (auto r = config::validate(settings, policies::catalog()); !r)
    return r.error();
  std::unique_ptr<impl> x;
  auto r = no_exceptions([&]() -> result<void> {
    x = std::make_unique<impl>(settings, "");
    return x->start();
  });
  if (!r)
    return r.error();
  return runtime{std::move(x)};
}

result<runtime> runtime::from_file(const std::string& path) {
  auto settings = config::load(path, policies::catalog());
  if (!settings)
    return settings.error();
  std::unique_ptr<impl> x;
  auto r = no_exceptions([&]() -> result<void> {
    x = std::make_unique<impl>(*settings, path);
    return x->start();
  });
  if (!r)
    return r.error();
  return runtime{std::move(x)};
}

result<cache> runtime::open(const model_shape& shape) { return impl_->open(shape); }

completion<std::uint64_t> runtime::reload(const config::settings& next) {
  return impl_->reload(reload_source::text, config::to_yaml(next, policies::catalog(), false),
                       "application");
}

completion<std::uint64_t> runtime::reload_text(std::string_view yaml) {
  return impl_->reload(reload_source::text, std::string{yaml}, "application");
}

completion<std::uint64_t> runtime::reload_file() { return impl_->reload(reload_source::file, {}, "application"); }

config::settings runtime::settings() const { return impl_->settings(); }
runtime_status runtime::status() const { return impl_->status(); }
void runtime::stop() { impl_->stop(); }

} // namespace pikv
