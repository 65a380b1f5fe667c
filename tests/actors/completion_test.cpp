// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <thread>
#include <type_traits>

#include <gtest/gtest.h>

#include <pikv/actors/completion.hpp>

namespace pikv {
namespace {

using text = completion<std::string>;
using state = detail::completion_state<std::string>;

/// A result that only the completion itself keeps alive.
text ended() { return text::ended(std::string(1000, 'x')); }

static_assert(!std::is_reference_v<decltype(ended().wait())>,
              "the result of a temporary would be gone at the end of the line");

TEST(completion, a_temporary_gives_its_result_away) {
  const auto& waited = ended().wait();
  const auto& spun = ended().spin();
  EXPECT_EQ(*waited, std::string(1000, 'x'));
  EXPECT_EQ(*spun, std::string(1000, 'x'));
}

TEST(completion, the_first_outcome_stays) {
  auto s = std::make_shared<state>();
  EXPECT_TRUE(s->fill(std::string{"first"}));
  EXPECT_FALSE(s->fill(error{errc::deadline_exceeded, "late"}));
  EXPECT_EQ(*text{s}.wait(), "first");
}

TEST(completion, callbacks_hear_once_early_or_late) {
  auto s = std::make_shared<state>();
  const text x{s};
  int heard = 0;
  x.then([&](const result<std::string>& r) { heard += r.ok() ? 1 : 100; });
  EXPECT_FALSE(x.poll());
  s->fill(std::string{"now"});
  EXPECT_EQ(heard, 1);
  x.then([&](const result<std::string>&) { ++heard; });
  EXPECT_EQ(heard, 2);
  EXPECT_TRUE(x.poll());
}

TEST(completion, a_waiting_thread_wakes) {
  auto s = std::make_shared<state>();
  const text x{s};
  std::jthread waiter{[x] { EXPECT_EQ(*x.wait(), "there"); }};
  s->fill(std::string{"there"});
}

} // namespace
} // namespace pikv
