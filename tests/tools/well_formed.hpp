// SPDX-License-Identifier: Apache-2.0
/// \file
/// Whether a text is one well-formed XML element: what any viewer of a picture asks first.
#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace pikv::tools {

/// "" when it is, else what is wrong and where. Knows elements, attributes in double quotes, text
/// and the entities that an SVG of ours may hold; no comments, no processing instructions.
inline std::string xml_fault(std::string_view x) {
  std::vector<std::string> open;
  std::size_t at = 0;
  bool ended = false;
  const auto fault = [&](const char* what) {
    return std::string{what} + " at " + std::to_string(at);
  };
  const auto entity_ok = [&](std::size_t i) {
    for (const std::string_view e : {"&amp;", "&lt;", "&gt;", "&quot;"})
      if (x.substr(i, e.size()) == e)
        return true;
    return false;
  };
  while (at < x.size()) {
    if (x[at] != '<') {
      if (x[at] == '&' && !entity_ok(at))
        return fault("bare &");
      if (open.empty() && std::isspace(static_cast<unsigned char>(x[at])) == 0)
        return fault("text outside of the root");
      ++at;
      continue;
    }
    if (ended)
      return fault("a second root");
    const bool closing = x.substr(at, 2) == "</";
    at += closing ? 2 : 1;
    std::string name;
    while (at < x.size() && std::isalnum(static_cast<unsigned char>(x[at])) != 0)
      name += x[at++];
    if (name.empty())
      return fault("an element without a name");
    bool alone = false;
    while (at < x.size() && x[at] != '>') {
      if (x[at] == '<')
        return fault("< inside of a tag");
      if (x[at] == '"') {
        for (++at; at < x.size() && x[at] != '"'; ++at)
          if (x[at] == '<' || (x[at] == '&' && !entity_ok(at)))
            return fault("a bare character in an attribute");
        if (at == x.size())
          return fault("an attribute without an end");
      }
      alone = x[at] == '/';
      ++at;
    }
    if (at == x.size())
      return fault("a tag without an end");
    ++at;
    if (closing) {
      if (open.empty() || open.back() != name)
        return fault("an end tag that nothing began");
      open.pop_back();
    } else if (!alone) {
      open.push_back(name);
    }
    ended = open.empty();
  }
  return open.empty() && ended ? "" : fault("an element without an end");
}

} // namespace pikv::tools
