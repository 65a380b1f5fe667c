// SPDX-License-Identifier: Apache-2.0
/// \file
/// How a page's record changes with its uses, and what is learned from the uses of all pages. The
/// scheduler and `pikv replay` both keep their records through this, so that a policy is told the
/// same of the same uses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <pikv/policies/scheduling/scheduling_policy.hpp>

namespace pikv::policies {

/// How many of the pages of a class are read again. A class is a tag (the layer; in replays of
/// requests the length of the answer) and the number of reads so far, 0 to 3 or more: as the
/// signature of SHiP (Wu et al., MICRO 2011), but a share instead of a saturating counter.
class reuse_classes {
public:
  /// A page of this class was used; whether it is read again is not known yet.
  void used(std::uint16_t tag, std::uint64_t reads) noexcept {
    ++at(tag, reads).used;
    ++all_.used;
  }
  /// It was: `reads` as in the call of used() before.
  void read_again(std::uint16_t tag, std::uint64_t reads) noexcept {
    ++at(tag, reads).again;
    ++all_.again;
  }
  /// In [0, 1]. A class that is not known yet counts as the mean of all, with the weight of 200
  /// uses.
  double share(std::uint16_t tag, std::uint64_t reads) noexcept {
    constexpr double prior = 25;
    const auto mean = (all_.again + 0.3) / (all_.used + 1);
    const auto& x = at(tag, reads);
    return std::min((x.again + prior * mean) / (x.used + prior), 1.0);
  }

private:
  struct counts {
    double used = 0, again = 0;
  };
  static constexpr std::uint64_t levels = 4;
  counts& at(std::uint16_t tag, std::uint64_t reads) noexcept {
    return classes_[std::min<std::size_t>(tag, classes_.size() - 1)][std::min(reads, levels - 1)];
  }

  std::array<std::array<counts, levels>, 256> classes_{}; // tags from 255 on are one
  counts all_;
};

class page_uses {
public:
  /// Begins a tick in which `settling` pages settle where `kept` are kept.
  void tick(std::uint64_t settling, std::uint64_t kept) noexcept {
    constexpr double keep = 0.999; // a memory of 1000 ticks
    constexpr double longest = 1e6;
    settled_ = settled_ * keep + static_cast<double>(settling);
    ticks_ = ticks_ * keep + 1;
    turnover_ =
        settled_ > 0 ? std::min(static_cast<double>(kept) * ticks_ / settled_, longest) : longest;
  }

  /// The page settles for the first time; its tag is set before.
  void settled(page_record& x, std::uint64_t now) noexcept {
    x.settled_at = x.last_read_at = now;
    learn(x);
  }

  /// The page is read, or settles again after it was dropped; `tag` is its tag from now on.
  void read(page_record& x, std::uint64_t now, std::uint16_t tag) noexcept {
    constexpr double newest = 0.3; // weight of the newest gap
    const auto gap = static_cast<double>(now - x.last_read_at);
    classes_.read_again(x.tag, x.reads);
    gaps_ += gap;
    ++reads_;
    x.mean_gap = x.reads == 0 ? gap : newest * gap + (1 - newest) * x.mean_gap;
    x.last_read_at = now;
    x.tag = tag;
    ++x.reads;
    learn(x);
  }

private:
  void learn(page_record& x) noexcept {
    classes_.used(x.tag, x.reads);
    x.reuse = classes_.share(x.tag, x.reads);
    x.turnover = reads_ > 0 ? std::min(turnover_, gaps_ / reads_) : turnover_;
  }

  reuse_classes classes_;
  double settled_ = 0, ticks_ = 0, turnover_ = 0;
  double gaps_ = 0, reads_ = 0; ///< of all reads
};

} // namespace pikv::policies
