// SPDX-License-Identifier: Apache-2.0
/// \file
/// Makes a kind's table from a list with one line per policy. The file NAME.cpp of the kind KIND
/// defines `table_entry<KIND_policy> NAME_KIND()`; KIND/table.cpp gives the list, a macro that
/// calls its argument with (KIND, NAME) for each policy, to PIKV_DEFINE_TABLE. Only table.cpp files
/// include this header.
#pragma once

#define PIKV_DECLARE_POLICY(kind, name) table_entry<kind##_policy> name##_##kind();
#define PIKV_LIST_POLICY(kind, name) name##_##kind(),
#define PIKV_DEFINE_TABLE(kind, list)                                                              \
  namespace pikv::policies {                                                                       \
  list(PIKV_DECLARE_POLICY) std::span<const table_entry<kind##_policy>> kind##_table() {           \
    static const table_entry<kind##_policy> table[] = {list(PIKV_LIST_POLICY)};                    \
    return table;                                                                                  \
  }                                                                                                \
  }
