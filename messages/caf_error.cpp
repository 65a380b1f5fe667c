// SPDX-License-Identifier: Apache-2.0
#include <pikv/messages/caf_error.hpp>

#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>

namespace pikv {

namespace {
constexpr auto category = caf::atom("pikv");
}

caf::error to_caf(const error& x) {
  return {static_cast<std::uint8_t>(x.code), category, caf::make_message(x.what)};
}

error from_caf(const caf::error& x, const char* what) {
  const auto& context = x.context();
  if (x.category() == category) {
    std::string text;
    if (context.match_elements<std::string>())
      text = context.get_as<std::string>(0);
    return {static_cast<errc>(x.code()), std::move(text)};
  }
  if (x == caf::sec::request_timeout)
    return {errc::deadline_exceeded, std::string{what}
                                         + " did not end before the deadline; retry, "
                                           "or raise limits.deadline"};
  return {errc::actor_down, std::string{what} + " failed because an actor went down; retry"};
}

} // namespace pikv
