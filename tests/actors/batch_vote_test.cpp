// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <pikv/actors/batch_vote.hpp>

namespace pikv {
namespace {

using verdict = batch_vote::verdict;

TEST(batch_vote, is_kept_when_all_lanes_have_agreed) {
  batch_vote v{2};
  v.agree();
  EXPECT_EQ(v.now(), verdict::open);
  v.agree();
  EXPECT_EQ(v.now(), verdict::keep);
  EXPECT_EQ(v.why().code, errc::ok);
}

TEST(batch_vote, one_refusal_takes_it_back_whatever_the_others_say) {
  batch_vote v{3};
  v.agree();
  v.refuse({errc::position_gap, "first"});
  v.refuse({errc::actor_down, "second"});
  v.agree();
  EXPECT_EQ(v.now(), verdict::take_back);
  EXPECT_EQ(v.why().what, "first");
}

TEST(batch_vote, a_refusal_after_the_verdict_changes_nothing) {
  batch_vote v{1};
  v.agree();
  v.refuse({errc::deadline_exceeded, "late"});
  EXPECT_EQ(v.now(), verdict::keep);
  EXPECT_EQ(v.why().code, errc::ok);
}

TEST(batch_vote, each_lane_is_told_once_early_or_late) {
  batch_vote v{1};
  int early = 0, late = 0;
  v.invite([&] { ++early; });
  EXPECT_EQ(early, 0);
  v.agree();
  v.invite([&] { ++late; });
  EXPECT_EQ(early, 1);
  EXPECT_EQ(late, 1);
}

} // namespace
} // namespace pikv
