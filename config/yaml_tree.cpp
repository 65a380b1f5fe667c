// SPDX-License-Identifier: Apache-2.0
#include <pikv/config/yaml_tree.hpp>

#include <optional>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

namespace pikv::config {

namespace {

constexpr std::size_t max_bytes = std::size_t{1} << 20;
constexpr std::size_t max_depth = 32;

position to_position(const YAML::Mark& mark) noexcept {
  return mark.is_null() ? position{} : position{mark.line + 1, mark.column + 1};
}

// Leaves the parser by exception, as yaml-cpp itself does; read_yaml catches both.
struct refused : std::runtime_error {
  refused(const YAML::Mark& mark, const char* why) : runtime_error(why), where(to_position(mark)) {}
  position where;
};

// Nodes of YAML::Node would lose duplicate keys' positions, so the tree is built from the events.
class tree_builder final : public YAML::EventHandler {
public:
  std::optional<yaml_node> root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root)
      throw refused(mark, "there is a second document; one is allowed");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(node_kind::none, mark, ""); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw refused(mark, "aliases (*name) are not allowed; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    check_tag(mark, tag);
    add(node_kind::scalar, mark, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(node_kind::sequence, mark, tag);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(node_kind::map, mark, tag);
  }
  void OnMapEnd() override { close(); }

private:
  struct level {
    yaml_node node;
    std::optional<yaml_node> key; // read, and waiting for its value
  };

  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!")
      throw refused(mark, "tags (!name) are not allowed");
  }

  void open(node_kind kind, const YAML::Mark& mark, const std::string& tag) {
    check_tag(mark, tag);
    if (levels_.size() == max_depth)
      throw refused(mark, "maps and lists are nested too deeply");
    levels_.push_back({{kind, to_position(mark), {}, {}}, {}});
  }

  void close() {
    auto node = std::move(levels_.back().node);
    levels_.pop_back();
    attach(std::move(node));
  }

  void add(node_kind kind, const YAML::Mark& mark, const std::string& text) {
    attach({kind, to_position(mark), text, {}});
  }

  void attach(yaml_node node) {
    if (levels_.empty()) {
      root = std::move(node);
      return;
    }
    auto& [parent, key] = levels_.back();
    if (parent.kind == node_kind::sequence) {
      parent.items.push_back(std::move(node));
      return;
    }
    if (!key) {
      key = std::move(node);
      return;
    }
    // yaml-cpp places an empty value at the token that follows it.
    if (node.kind == node_kind::none)
      node.where = key->where;
    parent.entries.push_back({std::move(*key), std::move(node)});
    key.reset();
  }

  std::vector<level> levels_;
};

error syntax_error(std::string_view file, position where, std::string_view what) {
  return {errc::config_syntax, fmt::format("{}: {}", to_string(file, where), what)};
}

// A tab before the first character of a line that holds something; yaml-cpp would complain
// elsewhere.
std::optional<std::size_t> indenting_tab(std::string_view line) {
  const auto first = line.find_first_not_of(" \t\r");
  const auto tab = line.find('\t');
  if (first == line.npos || line[first] == '#' || tab >= first)
    return {};
  return tab;
}

std::optional<error> check_bytes(std::string_view text, std::string_view file) {
  if (text.size() > max_bytes)
    return syntax_error(file, {}, "the text is longer than 1MiB");
  position at;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (at.column == 1)
      if (const auto tab = indenting_tab(text.substr(i, text.find('\n', i) - i)))
        return syntax_error(file, {at.line, static_cast<int>(*tab) + 1},
                            "a tab indents the line; use spaces");
    if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7f)
      return syntax_error(file, at, fmt::format("control character 0x{:02x} is not allowed", byte));
    at = c == '\n' ? position{at.line + 1, 1} : position{at.line, at.column + 1};
  }
  return {};
}

} // namespace

std::string to_string(std::string_view file, position where) {
  return fmt::format("{}:{}:{}", file, where.line, where.column);
}

result<yaml_node> read_yaml(std::string_view text, std::string_view file) {
  if (auto e = check_bytes(text, file))
    return *e;
  try {
    std::istringstream in{std::string{text}};
    YAML::Parser parser(in);
    tree_builder builder;
    // The second call only finds out that nothing follows: OnDocumentStart refuses what does.
    for (int document = 0; document < 2 && parser.HandleNextDocument(builder); ++document) {
    }
    return builder.root ? std::move(*builder.root) : yaml_node{};
  } catch (const refused& e) {
    return syntax_error(file, e.where, e.what());
  } catch (const YAML::Exception& e) {
    return syntax_error(file, to_position(e.mark), e.msg);
  } catch (const std::exception& e) {
    return syntax_error(file, {}, e.what());
  }
}

} // namespace pikv::config
