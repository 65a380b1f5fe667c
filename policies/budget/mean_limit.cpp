// SPDX-License-Identifier: Apache-2.0
#include <pikv/policies/budget/mean_limit.hpp>

#include <string>

namespace pikv::policies {

std::vector<option_spec> mean_limit::options(const char* of_whom) {
  const std::string whom{of_whom};
  return {{.name = "tokens",
           .type = option_type::integer,
           .fallback = std::int64_t{0},
           .help = "entries that " + whom + "; 0: no limit",
           .min = 0,
           .max = 4294967295.0,
           .choices = {}},
          {.name = "share",
           .type = option_type::real,
           .fallback = 1.0,
           .help = "share of the entries seen that " + whom + "; 1: no limit",
           .min = 1e-6,
           .max = 1,
           .choices = {}}};
}

} // namespace pikv::policies
