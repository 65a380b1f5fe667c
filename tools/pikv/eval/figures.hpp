// SPDX-License-Identifier: Apache-2.0
/// \file
/// The pictures of `pikv eval`.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <pikv/messages/error.hpp>

#include "eval/outcome.hpp"
#include "plot/svg.hpp"

namespace pikv::tools {

struct figure {
  std::string name; ///< of the file, without ".svg"
  std::string svg;
};

/// Loss of bits per byte against bytes stored (pareto_stored) and against bytes read (pareto_read),
/// both with the rows that no other beats; needles by context and depth (needle); coverage by layer
/// (coverage_by_layer). Pictures without anything in them are left out.
std::vector<figure> figures_of(std::span<const eval_outcome> x,
                               plot::theme colours = plot::theme::automatic);

/// Writes NAME.svg of each into the folder, which is made if need be. Errors: io_failed.
result<void> write_figures(std::span<const figure> x, const std::string& folder);

} // namespace pikv::tools
