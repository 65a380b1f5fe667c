// SPDX-License-Identifier: Apache-2.0
#include "paper_model.hpp"

#include <cmath>

namespace pikv::tools {

paper_figures paper_formulas(const paper_request& x) noexcept {
  const double per_token = 2 * x.dim / x.compression;
  paper_figures out;
  out.tokens_per_device = x.tokens / x.gpus + x.tokens / x.experts;
  out.values = per_token * (x.tokens / (x.gpus * x.page_tokens) + x.kept_pages * x.page_tokens);
  out.best_page_tokens = std::sqrt(x.tokens / (x.kept_pages * x.gpus));
  out.best_values = 2 * per_token * std::sqrt(x.kept_pages * x.tokens / x.gpus);
  return out;
}

} // namespace pikv::tools
