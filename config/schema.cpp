// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/schema.hpp>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace pikv::config {

namespace {

constexpr double u32_max = std::numeric_limits<std::uint32_t>::max();

// -- values of fields as option values ------------------------------------------------------------

template <class Enum>
std::span<const std::string_view> names_of() = delete;

template <>
std::span<const std::string_view> names_of<latency_profile>() {
  static constexpr std::string_view names[] = {"low", "balanced", "idle"};
  return names;
}
template <>
std::span<const std::string_view> names_of<dtype>() {
  static constexpr std::string_view names[] = {"f32", "f16", "bf16"};
  return names;
}
template <>
std::span<const std::string_view> names_of<full_policy>() {
  static constexpr std::string_view names[] = {"evict", "refuse"};
  return names;
}
template <>
std::span<const std::string_view> names_of<settle_granularity>() {
  static constexpr std::string_view names[] = {"page", "entry"};
  return names;
}
template <>
std::span<const std::string_view> names_of<move_path>() {
  static constexpr std::string_view names[] = {"auto", "peer", "nccl"};
  return names;
}

template <class T>
option_value to_value(const T& x) {
  if constexpr (std::is_same_v<T,
                               bool> || std::is_same_v<T, double> || std::is_same_v<T, std::string>)
    return x;
  else if constexpr (std::is_same_v<T, std::chrono::nanoseconds>)
    return std::int64_t{x.count()};
  else if constexpr (std::is_enum_v<T>) {
    const auto names = names_of<T>();
    const auto i = static_cast<std::size_t>(x);
    return i < names.size() ? std::string{names[i]} : std::string{"unknown"};
  } else
    return static_cast<std::int64_t>(x);
}

template <class T>
T from_value(const option_value& x) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
    return std::get<T>(x);
  } else if constexpr (std::is_same_v<T, double>) {
    const auto* integer = std::get_if<std::int64_t>(&x);
    return integer != nullptr ? static_cast<double>(*integer) : std::get<double>(x);
  } else if constexpr (std::is_same_v<T, std::chrono::nanoseconds>) {
    return T{std::get<std::int64_t>(x)};
  } else if constexpr (std::is_enum_v<T>) {
    const auto names = names_of<T>();
    return static_cast<T>(std::ranges::find(names, std::get<std::string>(x)) - names.begin());
  } else {
    return static_cast<T>(std::get<std::int64_t>(x));
  }
}

// -- building entries -----------------------------------------------------------------------------

// The default is that of the struct, so that settings.hpp stays the only place that says it.
template <auto Section, auto Field>
key_entry key(std::string name, option_type type, std::string help, std::optional<double> min = {},
              std::optional<double> max = {}, std::vector<std::string> choices = {}) {
  using value = std::remove_cvref_t<decltype((settings{}.*Section).*Field)>;
  key_entry out;
  out.get = [](const settings& x) { return to_value((x.*Section).*Field); };
  out.set = [](settings& x, const option_value& v) { (x.*Section).*Field = from_value<value>(v); };
  if constexpr (std::is_enum_v<value>)
    choices.assign(names_of<value>().begin(), names_of<value>().end());
  out.spec = {std::move(name),   type, out.get(settings{}), std::move(help), min, max,
              std::move(choices)};
  return out;
}

section runtime_section() {
  using r = runtime_settings;
  constexpr auto s = &settings::runtime;
  using enum option_type;
  return {
      "runtime",
      "threads and latency",
      change::restart,
      nullptr,
      {key<s, &r::latency>("runtime.latency", text,
                           "how eagerly idle threads look for work: low burns a core while "
                           "requests flow, idle sleeps at once, balanced spins briefly"),
       key<s, &r::lanes>("runtime.lanes", integer, "routers; a sequence stays in one lane", 1, 256),
       key<s, &r::actor_threads>("runtime.actor_threads", integer, "threads of the actor scheduler",
                                 1, 1024)}};
}

section devices_section() {
  using d = device_settings;
  constexpr auto s = &settings::devices;
  using enum option_type;
  constexpr double least = 1 << 20;
  constexpr double most = 1024.0 * (std::uint64_t{1} << 40);
  return {"devices",
          "where pages live and attention runs",
          change::restart,
          nullptr,
          {key<s, &d::backend>("devices.backend", text, "kind of device", {}, {}, {"host", "cuda"}),
           key<s, &d::count>("devices.count", integer, "logical devices", 1, 64),
           key<s, &d::threads>("devices.threads", integer,
                               "threads per device; 0: cores / devices, at least 1", 0, 1024),
           key<s, &d::memory_bytes>("devices.memory", bytes, "memory for pages on each device",
                                    least, most),
           key<s, &d::scratch_bytes>("devices.scratch", bytes,
                                     "memory for work in flight on each device", least, most),
           key<s, &d::exchange_bytes>("devices.exchange", bytes,
                                      "device memory for what several GPUs show each other of work "
                                      "in flight; cuda with more than one device",
                                      least, most)}};
}

section transfer_section() {
  return {"transfer",
          "how pages move between devices",
          change::restart,
          nullptr,
          {key<&settings::transfer, &transfer_settings::path>(
              "transfer.path", option_type::text,
              "what carries them: peer copies between GPUs that reach each other's memory, NCCL "
              "(devices.backend cuda only), or auto: peer where it works, else NCCL")}};
}

section cache_section() {
  using c = cache_settings;
  constexpr auto s = &settings::cache;
  using enum option_type;
  constexpr double longest = 1 << 24;
  return {"cache",
          "pages, window and shards",
          change::restart,
          nullptr,
          {key<s, &c::page_tokens>("cache.page_tokens", integer, "entries of a page", 8, 64,
                                   {"8", "16", "32", "64"}),
           key<s, &c::stored>("cache.dtype", text, "element type of raw pages"),
           key<s, &c::sinks>("cache.sinks", integer, "first entries of a sequence, always read", 0,
                             longest),
           key<s, &c::window>("cache.window", integer,
                              "most recent entries, always read; at least cache.page_tokens", 8,
                              longest),
           key<s, &c::shards>("cache.shards", integer, "shards that pages are placed on", 1, 4096),
           key<s, &c::shard_capacity_pages>("cache.shard_capacity_pages", integer,
                                            "ring size of a shard on its device, in pages; 0: "
                                            "unlimited",
                                            0, u32_max),
           key<s, &c::granularity>("cache.granularity", text,
                                   "what is placed on a shard: whole pages of consecutive entries "
                                   "or each entry, which takes up to one open page more for each "
                                   "shard, layer and sequence")}};
}

section limits_section() {
  using l = limit_settings;
  constexpr auto s = &settings::limits;
  using enum option_type;
  return {
      "limits",
      "what a client may ask for",
      change::live,
      nullptr,
      {key<s, &l::max_in_flight>("limits.max_in_flight", integer,
                                 "requests per lane; more are refused as overloaded", 1, 1 << 20),
       key<s, &l::max_sequences>("limits.max_sequences", integer, "open sequences", 1, 1 << 30),
       key<s, &l::deadline>("limits.deadline", duration,
                            "time in which a request that names no deadline must end", 1e3,
                            86400e9),
       key<s, &l::when_full>("limits.when_full", text,
                             "an append to a full device: evict settled pages, or refuse")}};
}

section ghosts_section() {
  section out{"ghosts",
              "what other scheduling policies would have kept, measured live",
              change::live,
              nullptr,
              {key<&settings::ghosts, &ghost_settings::policies>(
                  "ghosts.policies", option_type::text,
                  "scheduling policies to run beside the live one, on what it reads, without data: "
                  "names separated by commas, or a list; empty: none"),
              key<&settings::ghosts, &ghost_settings::tokens>(
                  "ghosts.tokens", option_type::integer,
                  "entries that a layer of a sequence may keep in a ghost, window included; 0: as "
                  "the live budget says",
                  0, 4294967295.0)}};
  out.keys.front().list = true;
  return out;
}

section fidelity_section() {
  using f = fidelity_settings;
  constexpr auto s = &settings::fidelity;
  using enum option_type;
  return {"fidelity",
          "how closely outputs are watched, and what is held",
          change::live,
          nullptr,
          {key<s, &f::audit_share>("fidelity.audit_share", real,
                                   "share of attends that are also computed in full", 0, 1),
           key<s, &f::coverage_target>(
               "fidelity.coverage_target", real,
               "mean share of the attention mass to read, held by audits at few bytes read; 0: "
               "none. Steers selection mass and routing adaptive",
               0, 0.99999),
           key<s, &f::max_output_error>("fidelity.max_output_error", real,
                                        "mean relative error of outputs to stay below, held the "
                                        "same way; 0: no limit",
                                        0, 1)}};
}

section metrics_section() {
  using m = metrics_settings;
  constexpr auto s = &settings::metrics;
  using enum option_type;
  return {"metrics",
          "the HTTP endpoint for Prometheus",
          change::restart,
          nullptr,
          {key<s, &m::enabled>("metrics.enabled", boolean, "serve metrics"),
           key<s, &m::address>("metrics.address", text, "IP address or host name to listen on"),
           key<s, &m::port>("metrics.port", integer, "TCP port; 0: any free one", 0, 65535),
           key<s, &m::admin_token_file>(
               "metrics.admin_token_file", text,
               "file with the token that changes of the configuration over HTTP need; empty: only "
               "POST /-/reload changes anything there")}};
}

section policy_section(std::string kind, std::string help, policy_choice settings::*choice) {
  return {std::move(kind), std::move(help), change::live, choice, {}};
}

} // namespace

std::string_view to_string(change x) noexcept { return x == change::live ? "live" : "restart"; }

std::span<const section> sections() {
  static const std::vector<section> all = {
      runtime_section(),
      devices_section(),
      transfer_section(),
      cache_section(),
      policy_section("placement", "which shard a settled page belongs to", &settings::placement),
      policy_section("routing", "which shards a query reads", &settings::routing),
      policy_section("selection", "which old pages a query reads", &settings::selection),
      policy_section("compression", "in which form settled pages are kept", &settings::compression),
      policy_section("budget", "how many entries a layer may keep", &settings::budget),
      policy_section("scheduling", "which page gives way first", &settings::scheduling),
      ghosts_section(),
      limits_section(),
      fidelity_section(),
      metrics_section(),
  };
  return all;
}

const policy_kind_info* find_kind(const policy_catalog& catalog, std::string_view kind) noexcept {
  const auto found = std::ranges::find(catalog, kind, &policy_kind_info::kind);
  return found == catalog.end() ? nullptr : &*found;
}

const policy_info* find_policy(const policy_kind_info& kind, std::string_view name) noexcept {
  const auto found = std::ranges::find(kind.policies, name, &policy_info::name);
  return found == kind.policies.end() ? nullptr : &*found;
}

std::vector<std::string> policy_names(const policy_kind_info& kind) {
  std::vector<std::string> names;
  for (const auto& x : kind.policies)
    names.push_back(x.name);
  return names;
}

std::vector<std::string> live_policy_names(const policy_kind_info& kind) {
  std::vector<std::string> names;
  for (const auto& x : kind.policies)
    if (x.offline.empty())
      names.push_back(x.name);
  return names;
}

option_spec dotted(const section& x, option_spec spec) {
  spec.name = fmt::format("{}.{}", x.name, spec.name);
  return spec;
}

} // namespace pikv::config
