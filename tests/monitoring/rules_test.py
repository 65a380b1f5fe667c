#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prometheus rules name metrics that exist, and every alert has a runbook paragraph and a unit test.

rules_test.py names SOURCE_DIR             checks the names
rules_test.py promtool SOURCE_DIR PROGRAM  runs promtool; 77 where there is none
"""
import pathlib
import re
import subprocess
import sys


def fail(problems):
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


def check_names(source):
    rules = (source / "monitoring/rules/pikv.rules.yml").read_text()
    unit_tests = (source / "monitoring/rules/pikv.rules.test.yml").read_text()
    runbook = (source / "docs/runbook.md").read_text()
    rows = re.findall(r"^\| `(pikv_\w+)` \| (\w+) \|", (source / "docs/metrics.md").read_text(), re.M)
    known = set()
    for name, kind in rows:
        known |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    recorded = set(re.findall(r"record: (\S+)", rules))
    alerts = re.findall(r"alert: (\w+)", rules)
    problems = [] if alerts and known else ["no alerts or no metrics were found"]
    for name in sorted(set(re.findall(r"\bpikv_\w+", rules + unit_tests)) - known):
        problems.append(f"{name} is no metric of docs/metrics.md")
    for name in sorted(set(re.findall(r"\bpikv:\w+:\w+", rules + unit_tests)) - recorded):
        problems.append(f"{name} is not recorded")
    headings = re.findall(r"^### (\w+)$", runbook, re.M)
    for alert in alerts:
        if alert not in headings:
            problems.append(f"docs/runbook.md has no paragraph {alert}")
        if f"runbook: docs/runbook.md#{alert.lower()}\n" not in rules:
            problems.append(f"{alert} does not link to its paragraph")
        if f'alertname="{alert}"' not in unit_tests:
            problems.append(f"{alert} fires in no unit test")
    problems += [f"docs/runbook.md tells of {x}, which is no alert" for x in headings if x not in alerts]
    fail(problems)


def run_promtool(source, promtool):
    if not pathlib.Path(promtool).exists():
        print("promtool is not installed (Debian package prometheus): the rules were not run")
        sys.exit(77)
    folder = source / "monitoring/rules"
    for arguments in (["check", "rules", "pikv.rules.yml"], ["test", "rules", "pikv.rules.test.yml"]):
        done = subprocess.run([promtool, *arguments], cwd=folder, timeout=60, check=False)
        if done.returncode != 0:
            sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "names":
        check_names(pathlib.Path(sys.argv[2]))
    else:
        run_promtool(pathlib.Path(sys.argv[2]), sys.argv[3])
