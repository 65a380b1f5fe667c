// SPDX-License-Identifier: Apache-2.0
#include <pikv/actors/http_handlers.hpp>

#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pikv/config/config.hpp>
#include <pikv/policies/table.hpp>

namespace pikv {

namespace {

using json = nlohmann::json;

/// What a change of a live section does to what is there already.
constexpr std::pair<std::string_view, std::string_view> effects[] = {
    {"placement", "pages that settle from now on are placed so; the others stay where they are"},
    {"routing", "the next attend is routed so; learned loads and masses stay"},
    {"selection", "the next attend selects so; summaries that it lacks are made when first needed"},
    {"compression", "pages that settle from now on are kept so; the others stay as they are"},
    {"budget", "holds from the next page that settles in a layer"},
    {"scheduling", "records of pages stay, and the new policy judges them"},
    {"ghosts", "those that stay keep what they know; new ones begin with what is kept now"},
    {"limits", "holds for the next request"},
    {"fidelity", "the next audits follow it; the controller goes on from where it is"},
};

std::string effect_of(const std::string& key) {
  for (const auto& [section, text] : effects)
    if (key.starts_with(section) && key.size() > section.size() && key[section.size()] == '.')
      return std::string{text};
  return {};
}

json described(const std::vector<std::string>& keys) {
  auto out = json::array();
  for (const auto& key : keys)
    out.push_back({{"key", key}, {"effect", effect_of(key)}});
  return out;
}

json described(const std::vector<config::key_change>& changes) {
  auto out = json::array();
  for (const auto& x : changes)
    out.push_back({{"key", x.key},
                   {"before", x.before},
                   {"after", x.after},
                   {"when", x.restart ? "restart" : "live"},
                   {"effect", effect_of(x.key)}});
  return out;
}

std::string text_of(const json& x) {
  return x.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string history_of(const config_state& state) {
  auto out = json::array();
  for (const auto& x : state.history()) {
    json entry{{"version", x.version}, {"unix_seconds", x.unix_seconds}, {"who", x.who}};
    if (x.refused.empty())
      entry["changed"] = described(x.keys);
    else
      entry["refused"] = x.refused;
    out.push_back(std::move(entry));
  }
  return text_of(out);
}

result<std::string> check(const config_state& state, const std::string& yaml) {
  const auto next = config::parse(yaml, policies::catalog());
  if (!next)
    return next.error();
  const auto now = state.settings();
  const auto changes = config::changes(now, *next, policies::catalog());
  auto restart = json::array();
  for (const auto& x : changes)
    if (x.restart)
      restart.push_back(x.key);
  return text_of({{"version", state.version()},
                  {"dry_run", true},
                  {"would_be_taken", restart.empty()},
                  {"restart", restart},
                  {"changed", described(changes)}});
}

result<std::string> change(const http_source& x, const monitoring::config_request& asked) {
  using verb = monitoring::config_request::verb;
  if (asked.what == verb::check)
    return check(*x.state, asked.yaml);
  const auto before = x.state->settings();
  const auto source = asked.what == verb::rollback ? reload_source::previous : reload_source::text;
  const auto version = x.reload(source, asked.yaml, asked.who).wait();
  if (!version)
    return version.error();
  return text_of(
      {{"version", *version},
       {"changed", described(config::changes(before, x.state->settings(), policies::catalog()))}});
}

} // namespace

monitoring::http_handlers make_http_handlers(http_source given) {
  const auto x = std::make_shared<const http_source>(std::move(given));
  monitoring::http_handlers h;
  h.metrics = [x] { return x->metrics->text(); };
  h.ready = x->ready;
  h.reload = [x] { return x->reload(reload_source::file, {}, "http").wait(); };
  h.config = [x] { return config::to_yaml(x->state->settings(), policies::catalog(), true); };
  h.history = [x] { return history_of(*x->state); };
  h.change = [x](const monitoring::config_request& asked) { return change(*x, asked); };
  return h;
}

result<std::string> read_token(const std::string& file) {
  if (file.empty())
    return std::string{};
  std::ifstream in{file};
  std::ostringstream text;
  text << in.rdbuf();
  if (!in)
    return error{
        errc::io_failed,
        fmt::format("metrics.admin_token_file: {} cannot be read; name a file with a token "
                    "of at least 16 characters, readable by this process alone",
                    file)};
  auto token = text.str();
  const auto blanks = " \t\r\n";
  const auto first = token.find_first_not_of(blanks);
  token = first == std::string::npos
              ? std::string{}
              : token.substr(first, token.find_last_not_of(blanks) - first + 1);
  if (token.size() < 16)
    return error{
        errc::config_value,
        fmt::format("metrics.admin_token_file: the token in {} has {} characters; it needs "
                    "at least 16, for example from: openssl rand -hex 32",
                    file, token.size())};
  return token;
}

} // namespace pikv
