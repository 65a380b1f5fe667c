// SPDX-License-Identifier: Apache-2.0
/// \file
/// The plain records by which an owner tells a router what pages there are.
#pragma once

#include <vector>

#include <pikv/actors/page_table.hpp>
#include <pikv/messages/protocol.hpp>

namespace pikv {

/// `surveyed_page` records of all tables back to back, in scratch memory of `arena`.
result<gpu::block> write_facts(gpu::arena& arena, const std::vector<const page_table*>& tables);

} // namespace pikv
