# SPDX-License-Identifier: Apache-2.0
"""What the dashboards show: one entry of DASHBOARDS a dashboard, one tuple a panel. generate.py writes the JSON.

A panel is (title, unit, description, queries), a query is (PromQL, legend). In PromQL, `I` stands for the
matcher of the chosen instances and `R` for the window of rates. Descriptions say what the figures mean
and what to do about them.
"""


def rate(metric, by, matchers="I"):
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[R]))"


def quantile(q, metric, by=""):
    return f"histogram_quantile({q}, sum by ({by + ', ' if by else ''}le) (rate({metric}_bucket{{I}}[R])))"


def mean(metric, by):
    return f"{rate(metric + '_sum', by)} / {rate(metric + '_count', by)}"


def share(part, whole):
    return f"sum(rate({part}[R])) / sum(rate({whole}[R]))"


OVERVIEW = [
    ("Processes", "none", "Processes that answer, by version and backend. One that is missing: PikvDown in docs/runbook.md.",
     [("sum by (version, backend) (pikv_build_info{I})", "{{version}} {{backend}}")]),
    ("Requests", "reqps", "Requests that ended, by kind. Attends that fall while appends go on: look at latency and at refusals.",
     [(rate("pikv_router_requests_ended_total", "kind"), "{{kind}}")]),
    ("Latency, 99 of 100", "s", "Time from a request's arrival to its end. High with busy streams: read less or add devices; "
     "high with idle streams: look at mailboxes.", [(quantile(0.99, "pikv_router_request_seconds", "kind"), "{{kind}}")]),
    ("Requests that failed", "reqps", "Requests that ended with an error, by its code. Empty is good. overloaded: more "
     "limits.max_in_flight; over_budget: more memory; deadline_exceeded: less load.",
     [(rate("pikv_router_requests_ended_total", "code", 'I, code!="ok"'), "{{code}}")]),
    ("Refusals and deadlines", "reqps", "Requests refused at limits.max_in_flight, and those that ended by their deadline. "
     "Both should be zero.", [(rate("pikv_router_overloaded_total", "instance"), "refused {{instance}}"),
                               (rate("pikv_router_deadline_missed_total", "instance"), "deadline {{instance}}")]),
    ("Where entries went", "percentunit", "Shares of what existed when attends looked; they add up to 1. read is what is paid "
     "for, lost should never be seen.",
     [('sum by (outcome) (rate(pikv_entries_total{I, outcome!="existing"}[R])) / ignoring (outcome) group_left () '
       'sum(rate(pikv_entries_total{I, outcome="existing"}[R]))', "{{outcome}}")]),
    ("Memory in use", "percentunit", "Share of each device's memory that is handed out. Near 1 pages give way or appends "
     "fail (limits.when_full).", [("pikv_owner_reserved_bytes{I} / pikv_owner_capacity_bytes{I}", "{{instance}} {{device}}")]),
    ("Mean coverage", "percentunit", "Share of the attention mass that was read, from audits. Falls: read more (selection, "
     "routing) or keep more (budget).", [(mean("pikv_router_coverage_ratio", "instance"), "{{instance}}")]),
    ("Configuration", "none", "The version in force and whether the last reload was taken (1). 0: POST /-/reload says why.",
     [("pikv_config_version{I}", "version {{instance}}"), ("pikv_config_last_reload_successful{I}", "taken {{instance}}")]),
]

EXPERTS = [
    ("Pages by shard", "none", "Settled pages on each shard; with placement gate a shard is an expert. One that towers "
     "over the others: placement eplb, or cluster where the gate is not even.",
     [("sum by (shard) (pikv_shard_pages{I})", "{{shard}}")]),
    ("Imbalance of devices' shards", "none", "Pages of the fullest shard over the mean on its device; 1 is even. Above 4, "
     "consider placement eplb or stripe.", [("pikv_owner_shard_imbalance_ratio{I}", "{{instance}} {{device}}")]),
    ("Shards in a route", "none", "How many shards a query row reads: mean and the widest 1 in 100. As many as there are: "
     "routing saves nothing.", [(mean("pikv_router_route_shards", "instance"), "mean {{instance}}"),
                                 (quantile(0.99, "pikv_router_route_shards"), "p99")]),
    ("Entries not routed", "percentunit", "Share of the entries that lay outside the route. Saved reads; check the missed "
     "mass beside it.", [(share('pikv_entries_total{I, outcome="not_routed"}', 'pikv_entries_total{I, outcome="existing"}'),
                           "not routed")]),
    ("Missed mass by layer", "percentunit", "Mean attention mass that was not read, from audits. High in few layers: they "
     "need more pages than the others.", [(mean("pikv_router_missed_mass_ratio", "layer"), "layer {{layer}}")]),
    ("Pages by device", "none", "Pages in windows and settled on each device. Uneven devices: placement eplb moves shards.",
     [("sum by (device, state) (pikv_owner_pages{I})", "{{device}} {{state}}")]),
]

FIDELITY = [
    ("Pages settled, by form", "cps", "Pages that left a window, by the form they have afterwards. What is not in the "
     "form you chose was kept raw.", [(rate("pikv_owner_pages_settled_total", "form"), "{{form}}")]),
    ("Pages encoded", "cps", "Pages that a codec encoded, by form.", [(rate("pikv_owner_pages_encoded_total", "form"), "{{form}}")]),
    ("Error of encoding", "percentunit", "Mean relative error of encoded keys (k) and values (v). int8 is about 0.5%, int4 "
     "about 8%; much more: outliers, take a wider form.", [(mean("pikv_owner_encode_error_ratio", "form, tensor"), "{{form}} {{tensor}}")]),
    ("Time of a batch", "s", "99 of 100 batches of encoding take no longer. They hold up the attends of their layer.",
     [(quantile(0.99, "pikv_owner_encode_seconds", "form"), "{{form}}")]),
    ("Kept raw, by reason", "cps", "Pages that were to be encoded and stayed raw. error: over the allowed error; memory: more "
     "devices.scratch; not_finite: the engine's keys hold NaN.", [(rate("pikv_owner_pages_kept_raw_total", "reason"), "{{reason}}")]),
    ("Coverage", "percentunit", "Share of the attention mass that was read: mean, and the share that 9 of 10 audits reach. "
     "Compare with fidelity.coverage_target.", [(mean("pikv_router_coverage_ratio", "instance"), "mean {{instance}}"),
                                                  (quantile(0.1, "pikv_router_coverage_ratio"), "p10")]),
    ("Output error by layer", "percentunit", "Mean relative error of outputs against the full attention, from audits; forms, "
     "selection and eviction together.", [(mean("pikv_router_output_error_ratio", "layer"), "layer {{layer}}")]),
    ("Target held", "none", "1 while audits meet the fidelity target or there is none. 0 for long: PikvFidelityMissed.",
     [("pikv_router_fidelity_held{I}", "{{instance}} lane {{lane}}")]),
    ("Coverage asked for", "percentunit", "What rows are told to reach so that the target is held; 0 without a target. At "
     "1 the controller has nothing left to give.", [("pikv_router_fidelity_coverage_ratio{I}", "{{instance}} lane {{lane}}")]),
    ("Samples rejected", "cps", "Measurements that were NaN or infinite; not zero means broken inputs.",
     [(rate("pikv_metrics_rejected_samples_total", "instance"), "{{instance}}")]),
]

MEMORY = [
    ("Bytes by use", "bytes", "Pages in whatever form, and summaries for selection. Together with rounding they are what is "
     "reserved.", [("sum by (device) (pikv_owner_page_bytes{I})", "pages {{device}}"),
                    ("sum by (device) (pikv_owner_summary_bytes{I})", "summaries {{device}}")]),
    ("Reserved and capacity", "bytes", "What the arena has handed out, of devices.memory. Full: a budget, a smaller form or "
     "more memory.", [("sum by (device) (pikv_owner_reserved_bytes{I})", "reserved {{device}}"),
                       ("sum by (device) (pikv_owner_capacity_bytes{I})", "capacity {{device}}")]),
    ("Scratch", "bytes", "Memory of work in flight, of devices.scratch. Appends and audits wait where it is full.",
     [("sum by (device) (pikv_owner_scratch_reserved_bytes{I})", "{{device}}")]),
    ("Entries appended", "cps", "Tokens times layers that came in.", [(rate("pikv_owner_entries_appended_total", "device"), "{{device}}")]),
    ("Pages evicted and freed", "cps", "Evicted from open sequences, by reason, and freed with their last sequence. "
     "pressure: the device is full; budget: the configured limit.",
     [(rate("pikv_owner_pages_evicted_total", "reason"), "{{reason}}"), (rate("pikv_owner_pages_freed_total", "instance"), "freed {{instance}}")]),
    ("Entries evicted", "cps", "The same in entries: what answers will not see again.", [(rate("pikv_owner_entries_evicted_total", "reason"), "{{reason}}")]),
    ("Moved between devices", "Bps", "Bytes of pages that settled on another device or followed their shard.",
     [(rate("pikv_transfer_bytes_total", "path"), "{{path}}")]),
    ("Time of a move", "s", "99 of 100 moves take no longer. They run beside attention; long ones delay settling.",
     [(quantile(0.99, "pikv_transfer_seconds", "path"), "{{path}}")]),
    ("Moves that failed", "cps", "By path and code; empty is good. PikvTransfersFail in docs/runbook.md says what codes mean.",
     [(rate("pikv_transfer_failures_total", "path, code"), "{{path}} {{code}}")]),
]

ACTORS = [
    ("Mailboxes", "none", "Messages that wait for each actor. Grows: PikvMailboxGrows in docs/runbook.md.",
     [("pikv_actor_mailbox_messages{I}", "{{actor}} {{index}}")]),
    ("Requests in flight", "none", "Of limits.max_in_flight, by lane.", [("pikv_router_requests_in_flight{I}", "{{instance}} lane {{lane}}")]),
    ("Streams busy", "percentunit", "Share of the time that a device's streams execute. attend near 1: the device is what "
     "limits; all low at high latency: the engine or actors are.",
     [(rate("pikv_owner_stream_busy_seconds_total", "device, role"), "{{device}} {{role}}")]),
    ("Restarts", "none", "Actors started again in the last hour. Not zero: the log has the cause.",
     [("sum by (actor) (increase(pikv_supervisor_restarts_total{I}[1h]))", "{{actor}}")]),
    ("Given up", "none", "Actors that failed too often and stay off until the process restarts.",
     [("sum by (actor) (pikv_supervisor_degraded_total{I})", "{{actor}}")]),
    ("Requests begun", "reqps", "By kind; compare with those that ended.", [(rate("pikv_router_requests_total", "kind"), "{{kind}}")]),
    ("Latency, one of two", "s", "Median time of a request, by kind.", [(quantile(0.5, "pikv_router_request_seconds", "kind"), "{{kind}}")]),
]

TUNING = [
    ("Hit ratio of ghosts", "percentunit", "What each policy of `ghosts` would have kept of what is read, since the start. One "
     "that stays above the others is worth a reload of scheduling.policy.", [("pikv_scheduler_ghost_hit_ratio{I}", "{{policy}}")]),
    ("Ghost misses, lately", "percentunit", "Share of recent reads whose page the ghost would have evicted; lower is better.",
     [("sum by (policy) (rate(pikv_scheduler_ghost_evicted_then_wanted_total{I}[R])) / "
       "sum by (policy) (rate(pikv_scheduler_ghost_reads_total{I}[R]))", "{{policy}}")]),
    ("Pages evicted, by policy", "cps", "Evictions that the live policy ordered.", [(rate("pikv_scheduler_pages_evicted_total", "policy"), "{{policy}}")]),
    ("Evicted, then wanted", "cps", "Evicted pages that a later query would have read. Much of what is evicted: another "
     "policy or a larger budget.", [(rate("pikv_scheduler_pages_evicted_then_wanted_total", "instance"), "{{instance}}")]),
    ("Reuse distance", "none", "Scheduler ticks between two reads of a page: half and nine tenths are below. Far tails favour "
     "lfu and h2o over lru.", [(quantile(0.5, "pikv_scheduler_reuse_distance_ticks"), "p50"),
                                (quantile(0.9, "pikv_scheduler_reuse_distance_ticks"), "p90")]),
    ("Entries not selected", "percentunit", "Share of the entries that selection left out. Compare with coverage before taking more.",
     [(share('pikv_entries_total{I, outcome="not_selected"}', 'pikv_entries_total{I, outcome="existing"}'), "not selected")]),
    ("Entries read", "percentunit", "Share of the entries that were read: what attention costs.",
     [(share('pikv_entries_total{I, outcome="read"}', 'pikv_entries_total{I, outcome="existing"}'), "read")]),
    ("Reloads", "none", "Reloads in the last hour, taken and refused. Line up changes of figures with changes of policy.",
     [("sum by (result) (increase(pikv_config_reload_total{I}[1h]))", "{{result}}")]),
    ("Last reload taken", "dateTimeAsIso", "When the configuration in force was taken.",
     [("pikv_config_last_reload_success_timestamp_seconds{I} * 1000", "{{instance}}")]),
]

DASHBOARDS = [
    ("overview", "PiKV overview", OVERVIEW),
    ("experts", "PiKV experts and shards", EXPERTS),
    ("fidelity", "PiKV compression and fidelity", FIDELITY),
    ("memory", "PiKV memory and movement", MEMORY),
    ("actors", "PiKV actors and streams", ACTORS),
    ("tuning", "PiKV policy tuning", TUNING),
]
