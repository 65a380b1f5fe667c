#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every panel and rule has something to say about a process at work, and alerts fire on real faults.

prometheus_test.py SOURCE_DIR PIKV     77 where there is no Prometheus (PIKV_PROMETHEUS or PATH)
"""
import json
import math
import pathlib
import re
import signal
import sys
import tempfile

from live_prometheus import Program, Prometheus, ask, find_prometheus, free_port, wait_for

# Queries that show nothing in a healthy process, each with its reason.
EMPTY_WHEN_HEALTHY = {
    "Requests that failed": "series of a code appear with the first request that ends with it",
    "Moves that failed": "series of a code appear with the first move that fails with it",
    "PikvTransfersFail": "the same",
}
# What no configuration and no signal can cause from outside: these fire in promtool's unit tests only.
ONLY_IN_UNIT_TESTS = {"PikvEntriesLost", "PikvActorDegraded", "PikvActorRestarts", "PikvEvictedThenWanted",
                      "PikvMailboxGrows"}
FAULTY = """
devices: {{count: 2, threads: 1, memory: 3MiB, scratch: 32MiB}}
cache: {{window: 64}}
routing: {{policy: gate_top_k, k: 1}}
placement: {{policy: gate}}
selection: {{policy: mass}}
fidelity: {{audit_share: 0.5, coverage_target: 0.9999}}
limits: {{{limits}}}
metrics: {{port: {port}}}
"""


def short(rules):
    """The rules with windows of seconds, so that a fault shows at once."""
    rules = re.sub(r"\[\d+[mh]\]", "[15s]", rules)
    return re.sub(r"for: \d+m", "for: 2s", re.sub(r"interval: 15s", "interval: 1s", rules))


def panel_queries(source, instance):
    """(title, query) of every panel, as Grafana would send it for one instance."""
    for file in sorted((source / "monitoring/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$instance", re.escape(instance)).replace("$__rate_interval", "30s")
                yield panel["title"], expr.replace("\\.", "\\\\.")


def rule_queries(rules):
    """(name, query) of every rule; of alerts what is compared, which must exist while all is well."""
    for kind, name, expr in re.findall(r"- (record|alert): (\S+)\n +expr: (?:\|\n)?((?:.+\n)+?)(?= +(?:for|labels|- )|\Z|\n| *-)", rules):
        yield name, re.sub(r"\s*(>|==)\s*[\d.]+\s*$", "", expr.strip()) if kind == "alert" else expr


def samples(url):
    """The series of one scrape: {name: {labels: value}}."""
    status, body = ask(url)
    assert status == 200, f"{url} answers {status}"
    out = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", body, re.M):
        out.setdefault(name, {})[labels] = float(value)
    return out


class Load:
    def __init__(self, folder, pikv, source, port, *arguments):
        self.port, self.instance = port, f"127.0.0.1:{port}"
        self.url = f"http://{self.instance}"
        self.program = Program(folder, pikv, "demo", "--load", "--load-rate", "600", *arguments, cwd=source)
        wait_for("pikv does not serve", 30, lambda: ask(self.url + "/metrics")[0] == 200 or not self.program.alive())
        assert f"{self.instance}/metrics" in self.program.text(), self.program.text()


def check_queries(prometheus, queries, instance, seconds):
    """Asks until each has shown something once. All at the same time: rates need a moment."""
    waiting = {(title, expr) for title, expr in queries if title not in EMPTY_WHEN_HEALTHY}
    for title, expr in queries:
        prometheus.query(expr)  # raises where Prometheus does not understand it

    def none_left():
        waiting.difference_update({x for x in waiting if prometheus.shows(x[1], instance)})
        return not waiting

    try:
        wait_for("", seconds, none_left, every=1)
    except AssertionError:
        raise AssertionError("show nothing: " + "; ".join(f"{t}: {e}" for t, e in sorted(waiting))) from None


def check_totals(url):
    x = samples(url + "/metrics")
    entries = x["pikv_entries_total"]
    existing = entries.pop('outcome="existing"')
    assert existing > 0 and sum(entries.values()) == existing, f"{entries} is not {existing}"
    for device, reserved in x["pikv_owner_reserved_bytes"].items():
        used = x["pikv_owner_page_bytes"][device] + x["pikv_owner_summary_bytes"][device]
        assert 0 < used <= reserved <= x["pikv_owner_capacity_bytes"][device], f"{device}: {used} of {reserved}"
        shards = sum(v for k, v in x["pikv_shard_pages"].items() if k.startswith(device + ","))
        assert shards == x["pikv_owner_pages"][device + ',state="settled"'], f"{device}: pages of shards"
    ended = sum(x["pikv_router_requests_ended_total"].values())
    begun = sum(x["pikv_router_requests_total"].values())
    assert 0 <= begun - ended <= 64, f"{begun} requests began, {ended} ended"


# One for each subsystem: what has to have moved under load.
MOVING = ["pikv_owner_entries_appended_total", "pikv_owner_pages_settled_total", "pikv_owner_pages_encoded_total",
          "pikv_owner_pages_evicted_total", "pikv_owner_entries_evicted_total", "pikv_owner_pages_freed_total",
          "pikv_owner_summary_bytes", "pikv_owner_stream_busy_seconds_total", "pikv_router_coverage_ratio_count",
          "pikv_scheduler_pages_evicted_total", "pikv_scheduler_ghost_reads_total", "pikv_transfer_bytes_total",
          "pikv_router_fidelity_coverage_ratio", "pikv_config_reload_total", "pikv_router_route_shards_count"]


def check_moves(url):
    def still():
        x = samples(url + "/metrics")
        left.difference_update({n for n in left if sum(x.get(n, {}).values()) > 0})
        return not left

    left = set(MOVING)
    try:
        wait_for("", 60, still, every=0.2)
    except AssertionError:
        raise AssertionError(f"do not move under load: {sorted(left)}") from None


def check_kill(prometheus, load, restart, queries):
    """Counters begin anew, and no query breaks."""
    entries = f'pikv_entries_total{{instance="{load.instance}", outcome="existing"}}'
    before = float(prometheus.query(entries)[0]["value"][1])
    load.program.end(signal.SIGKILL)
    wait_for("PikvDown does not fire", 30, lambda: ("PikvDown", load.instance) in prometheus.firing())
    again = restart()
    wait_for("PikvDown does not end", 30, lambda: ("PikvDown", load.instance) not in prometheus.firing())
    wait_for("no reset of counters was seen", 30, lambda: any(
        float(x["value"][1]) == 1 for x in prometheus.query(f"resets({entries}[2m])")))
    after = float(prometheus.query(entries)[0]["value"][1])
    assert after < before, f"{after} entries after the restart, {before} before"
    check_queries(prometheus, queries, load.instance, 60)
    for x in prometheus.query(f"rate({entries}[2m])"):
        assert 0 <= float(x["value"][1]) < math.inf
    return again


def check_faults(prometheus, load, config):
    """Faults by configuration, one after another; the alerts that fired."""
    def fires(*names):
        for name in names:
            wait_for(f"{name} does not fire; the load says:\n{load.program.text()[-1500:]}", 60,
                     lambda n=name: (n, load.instance) in prometheus.firing())
        return set(names)

    def reload(limits):
        config.write_text(FAULTY.format(port=load.port, limits=limits))
        status, body = ask(load.url + "/-/reload", data=b"", timeout=30)
        assert status == 200, body

    fired = fires("PikvMemoryNearlyFull", "PikvTransfersFail", "PikvFidelityMissed")
    reload("max_in_flight: 1, when_full: evict")
    fired |= fires("PikvOverloaded")
    reload("deadline: 1us")
    fired |= fires("PikvDeadlinesMissed")
    config.write_text("limits: {deadline: soon}\n")
    assert ask(load.url + "/-/reload", data=b"", timeout=30)[0] == 400
    return fired | fires("PikvReloadFailed")


def run(source, pikv, program, folder):
    rules = (source / "monitoring/rules/pikv.rules.yml").read_text()
    config, ports = folder / "faulty.yaml", (free_port(), free_port())
    config.write_text(FAULTY.format(port=ports[1], limits="when_full: evict"))
    running = []

    def start(name, port, *arguments):
        running.append(Load(folder / name, pikv, source, port, *arguments))
        return running[-1]

    def start_healthy():
        return start(f"healthy{len(running)}", ports[0], "--port", str(ports[0]), "--load-every", "4")

    prometheus = Prometheus(program, folder / "prometheus", ports, short(rules))
    try:
        healthy, faulty = start_healthy(), start("faulty", ports[1], "--config", str(config))
        queries = [*panel_queries(source, healthy.instance), *rule_queries(short(rules))]
        assert len(queries) > 60, f"only {len(queries)} queries were found"
        check_moves(healthy.url)
        check_queries(prometheus, queries, healthy.instance, 60)
        check_totals(healthy.url)
        fired = check_faults(prometheus, faulty, config)
        quiet = {x for x, instance in prometheus.firing() if instance == healthy.instance}
        assert not quiet, f"the healthy process raises {quiet}"
        again = check_kill(prometheus, healthy, start_healthy, queries)
        check_totals(again.url)
        alerts = set(re.findall(r"alert: (\w+)", rules))
        assert fired | {"PikvDown"} | ONLY_IN_UNIT_TESTS == alerts, f"nothing causes {alerts - fired}"
        for x in (again, faulty):
            assert x.program.end() == 0, x.program.text()[-2000:]
        print(f"{len(queries)} queries, {len(fired) + 1} of {len(alerts)} alerts fired on real faults")
    finally:
        for x in (*(y.program for y in running), prometheus.program):
            if x.alive():
                x.end(signal.SIGKILL)


if __name__ == "__main__":
    found = find_prometheus()
    if found is None:
        print("there is no prometheus (Debian package prometheus; or name it in PIKV_PROMETHEUS): not run")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="pikv_prometheus_") as temporary:
        run(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], found, pathlib.Path(temporary))
