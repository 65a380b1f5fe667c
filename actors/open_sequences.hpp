// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which sequences are open, for work that comes late: a page may arrive on a device after its
/// sequence was closed, and would stay for ever. Thread-safe.
#pragma once

#include <mutex>
#include <unordered_set>

#include <pikv/messages/types.hpp>

namespace pikv {

class open_sequences {
public:
  void add(sequence_id x) {
    const std::lock_guard guard{mutex_};
    set_.insert(x);
  }
  /// Called before the owners hear of it: what comes to them later is refused.
  void remove(sequence_id x) {
    const std::lock_guard guard{mutex_};
    set_.erase(x);
  }
  template <class Predicate>
  void remove_if(Predicate&& p) {
    const std::lock_guard guard{mutex_};
    std::erase_if(set_, p);
  }
  bool contains(sequence_id x) const {
    const std::lock_guard guard{mutex_};
    return set_.contains(x);
  }

private:
  mutable std::mutex mutex_;
  std::unordered_set<sequence_id> set_;
};

} // namespace pikv
