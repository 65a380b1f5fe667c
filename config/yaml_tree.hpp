// SPDX-License-Identifier: Apache-2.0
/// \file
/// YAML text as a tree that keeps every key, duplicates included, with its position. Internal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <pikv/messages/error.hpp>

namespace pikv::config {

/// Where something stands in the text; both count from 1, columns in bytes.
struct position {
  int line = 1;
  int column = 1;
};

enum class node_kind : std::uint8_t { none, scalar, map, sequence };

struct yaml_entry;

/// A node.
struct yaml_node {
  node_kind kind = node_kind::none; ///< none: empty, null or ~
  position where;
  std::string text;                ///< of a scalar
  std::vector<yaml_entry> entries; ///< of a map, in the order of the text
  std::vector<yaml_node> items = {}; ///< of a sequence
};

struct yaml_entry {
  yaml_node key;
  yaml_node value;
};

/// "pikv.yaml:12:10"
std::string to_string(std::string_view file, position where);

/// Reads one document; an empty text gives a node of kind none. Never throws. Refused with
/// config_syntax: what is not YAML, more than one document, more than 1 MiB, control characters,
/// and aliases and tags, which a flat configuration has no use for.
result<yaml_node> read_yaml(std::string_view text, std::string_view file);

} // namespace pikv::config
