// SPDX-License-Identifier: Apache-2.0
// pikv config diff and apply: a file beside what a running process has in force.
#include "command.hpp"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

#include "http_client.hpp"

namespace pikv::tools {

namespace {

constexpr int exit_differs = 1;
constexpr int exit_diff_failed = 2; // as diff(1) does
// A change waits for the configuration watcher, 30 s at most; this is a little more.
constexpr std::chrono::seconds change_deadline{35};

struct remote_options {
  std::string file;
  std::string url = "http://127.0.0.1:9464";
  std::string token_file;
  bool dry_run = false;
};

std::string at(std::string url, std::string_view path) {
  while (url.ends_with('/'))
    url.pop_back();
  return url.append(path);
}

result<std::string> read_file(const std::string& name) {
  std::ifstream in{name, std::ios::binary};
  std::ostringstream text;
  text << in.rdbuf();
  if (!in)
    return error{errc::io_failed, fmt::format("{}: the file is empty or cannot be read", name)};
  return text.str();
}

result<std::string> find_token(const std::string& file) {
  if (file.empty()) {
    const char* given = std::getenv("PIKV_ADMIN_TOKEN");
    return std::string{given == nullptr ? "" : given};
  }
  auto text = read_file(file);
  if (!text)
    return text;
  const auto first = text->find_first_not_of(" \t\r\n");
  if (first == std::string::npos)
    return std::string{};
  return text->substr(first, text->find_last_not_of(" \t\r\n") - first + 1);
}

/// What a reply that is no success says: the endpoint's `error`, else its text.
error refusal(const std::string& url, const http_answer& x) {
  const auto json = nlohmann::json::parse(x.body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_string())
    return {errc::io_failed, json["error"].get<std::string>()};
  return {errc::io_failed, fmt::format("{}: HTTP status {}: {}", url, x.status, x.body)};
}

result<config::settings> in_force(const std::string& base) {
  const auto url = at(base, "/config");
  auto x = send({.url = url});
  if (!x)
    return x.error();
  if (x->status != 200)
    return refusal(url, *x);
  return config::parse(x->body, policies::catalog(), url);
}

int diff(const remote_options& o) {
  const auto catalog = policies::catalog();
  const auto next = config::load(o.file, catalog);
  if (!next)
    return fail_at(next.error()), exit_diff_failed;
  const auto now = in_force(o.url);
  if (!now)
    return fail_at(now.error()), exit_diff_failed;
  const auto changes = config::changes(*now, *next, catalog);
  for (const auto& x : changes)
    fmt::print("{}: {} -> {} ({})\n", x.key, x.before, x.after, x.restart ? "restart" : "live");
  return changes.empty() ? 0 : exit_differs;
}

/// The endpoint calls the body "<text>"; its places are those of the file.
std::string in_file(std::string what, const std::string& file) {
  constexpr std::string_view body = "<text>";
  if (what.starts_with(body))
    what.replace(0, body.size(), file);
  return what;
}

int print_taken(const nlohmann::json& x, bool dry_run) {
  const auto keys = x.value("changed", nlohmann::json::array());
  const bool taken = !dry_run || x.value("would_be_taken", false);
  if (dry_run)
    fmt::print("it would be {}; {} keys differ\n",
               taken ? "taken" : "refused, for keys that can only change at a restart",
               keys.size());
  else
    fmt::print("version {} is in force; {} keys changed\n", x.value("version", 0), keys.size());
  for (const auto& key : keys)
    fmt::print("{}: {} -> {} ({}{}{})\n", key.value("key", ""), key.value("before", ""),
               key.value("after", ""), key.value("when", ""),
               key.value("effect", "").empty() ? "" : "; ", key.value("effect", ""));
  return taken ? 0 : exit_failed;
}

int apply(const remote_options& o) {
  auto text = read_file(o.file);
  if (!text)
    return fail(text.error());
  const auto token = find_token(o.token_file);
  if (!token)
    return fail(token.error());
  const auto url = at(o.url, o.dry_run ? "/config?dry_run=1" : "/config");
  const auto x = send({url, true, std::move(*text), *token, change_deadline});
  if (!x)
    return fail(x.error());
  if (x->status != 200)
    return fail_at({errc::config_value, in_file(refusal(url, *x).what, o.file)});
  const auto json = nlohmann::json::parse(x->body, nullptr, false);
  if (!json.is_object())
    return fail({errc::io_failed, fmt::format("{}: the answer is not JSON", url)});
  return print_taken(json, o.dry_run);
}

std::shared_ptr<remote_options> take_options(CLI::App& sub) {
  auto o = std::make_shared<remote_options>();
  sub.add_option("FILE", o->file, "YAML file")->required();
  sub.add_option("--url", o->url, "where the process serves its metrics")->capture_default_str();
  return o;
}

} // namespace

void add_config_remote(CLI::App& config, int& code) {
  auto* d = config.add_subcommand(
      "diff", "What differs between a running process and a file: 0 nothing, 1 some, 2 error");
  d->footer("Example:\n  pikv config diff pikv.yaml --url http://127.0.0.1:9464");
  d->callback([o = take_options(*d), &code] { code = diff(*o); });
  auto* a = config.add_subcommand("apply", "Puts a file in force in a running process");
  a->footer("Examples:\n"
            "  pikv config apply pikv.yaml --dry-run                  only says what it would do\n"
            "  pikv config apply pikv.yaml --token-file admin.token   or PIKV_ADMIN_TOKEN");
  const auto o = take_options(*a);
  a->add_option("--token-file", o->token_file, "file with the token; none: PIKV_ADMIN_TOKEN");
  a->add_flag("--dry-run", o->dry_run, "changes nothing");
  a->callback([o, &code] { code = apply(*o); });
}

} // namespace pikv::tools
