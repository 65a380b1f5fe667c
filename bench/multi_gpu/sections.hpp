// SPDX-License-Identifier: Apache-2.0
/// \file
/// The parts of multi_gpu_bench. Each uses GPUs 0 to `gpus - 1` of one host, adds its figures to the
/// report and ends the program on an error.
#pragma once

#include <cstdint>
#include <string>

#include "report.hpp"

namespace pikv::bench {

/// Attention over pages on several GPUs against the same on one and against float64, with pages
/// placed by stripe and by gate, moved by peer copies and by NCCL, read whole, by route and by
/// selection.
void check_exactness(int gpus, report& out);

/// Decode steps of `batch` x 32k tokens on one GPU and on `gpus`: the same work (strong scaling) and
/// as much on each (weak). `trace`: a file for the timeline of three steps on `gpus`; empty: none.
void measure_decode(int gpus, std::uint32_t batch, std::uint32_t layers, const std::string& trace,
                    report& out);

/// Two of eight shards by gate and by estimated mass, placed by the expert of their tokens and in
/// turn; and an eighth of the pages by mass. `trace`: as for decode, of the last way.
void measure_routes(int gpus, const std::string& trace, report& out);

/// The merge of partials of 8 rows, and attention over tokens on another GPU against moving them:
/// where the times cross.
void measure_partials(int gpus, report& out);

/// Moves of settled pages beside raw NCCL send and receive, and a decode step beside such moves.
void measure_settling(int gpus, report& out);

/// Two hot shards of one GPU are told apart while queries go on: every answer is right and in time.
void check_hot_shard(int gpus, report& out);

} // namespace pikv::bench
