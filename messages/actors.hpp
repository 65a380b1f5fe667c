// SPDX-License-Identifier: Apache-2.0
/// \file
/// The interfaces of the actors: who answers what. The graph is drawn in README.md.
#pragma once

#include <pikv/messages/protocol.hpp>

namespace pikv {

/// Keeps the logical state of one lane's sequences; plans, routes, selects and merges.
using router_actor = caf::typed_actor<caf::reacts_to<client_request>, caf::reacts_to<stream_done>,
                                      caf::reacts_to<decided_atom, ticket_id>,
                                      caf::reacts_to<tick_atom>, caf::reacts_to<crash_atom>>;

/// Owns the pages of one device. Work of one router is done in the order in which it was sent.
using shard_owner_actor = caf::typed_actor<
    caf::replies_to<append_work>::with<ack_atom>, caf::replies_to<truncate_work>::with<ack_atom>,
    caf::replies_to<enqueued_atom>::with<ack_atom>, // once earlier work is in streams or refused
    caf::replies_to<describe_work>::with<ack_atom>, caf::replies_to<settle_work>::with<settle_done>,
    caf::replies_to<scatter_work>::with<scatter_done>,
    caf::replies_to<migrate_work>::with<settle_done>, caf::replies_to<drop_work>::with<ack_atom>,
    caf::replies_to<survey_work>::with<survey_done>,
    caf::replies_to<share_work>::with<ack_atom>, caf::replies_to<attend_work>::with<attend_done>,
    caf::replies_to<partial_work>::with<partial_place>, caf::reacts_to<release_work>,
    caf::replies_to<sequence_work>::with<ack_atom>, caf::replies_to<adopt_work>::with<ack_atom>,
    caf::replies_to<evict_work>::with<reclaim_done>, caf::replies_to<usage_atom>::with<owner_usage>,
    caf::reacts_to<drop_lane_atom, lane_id>, caf::reacts_to<announce_atom>,
    caf::reacts_to<stream_done>, caf::reacts_to<tick_atom>, caf::reacts_to<crash_atom>>;

/// Encodes pages of one device on its codec stream.
using compressor_actor =
    caf::typed_actor<caf::replies_to<encode_work>::with<encode_done>, caf::reacts_to<stream_done>,
                     caf::reacts_to<tick_atom>, caf::reacts_to<crash_atom>>;

/// Copies pages between devices, verifies them and hands them over.
using transfer_actor =
    caf::typed_actor<caf::replies_to<move_work>::with<move_done>, caf::reacts_to<stream_done>,
                     caf::reacts_to<tick_atom>, caf::reacts_to<crash_atom>>;

/// Knows the use of every settled page and decides which give way.
using scheduler_actor =
    caf::typed_actor<caf::replies_to<settled_event>::with<ack_atom>, caf::reacts_to<attended_event>,
                     caf::replies_to<reclaim_work>::with<reclaim_done>,
                     caf::reacts_to<sequence_work>, caf::reacts_to<forget_atom, device_id>,
                     caf::reacts_to<drop_lane_atom, lane_id>, caf::reacts_to<tick_atom>,
                     caf::reacts_to<crash_atom>>;

/// Validates new configurations and puts them in force.
using config_watcher_actor =
    caf::typed_actor<caf::reacts_to<reload_work>, caf::reacts_to<tick_atom>>;

/// Samples what no event reports (arenas, streams, mailboxes) and makes the others flush.
using metrics_actor = caf::typed_actor<caf::reacts_to<tick_atom>>;

/// Starts the others, restarts those that die and cleans up behind them.
using supervisor_actor = caf::typed_actor<caf::reacts_to<tick_atom>>;

} // namespace pikv
