#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The committed dashboards are what their generator writes, name metrics that exist and explain every panel.

dashboards_test.py SOURCE_DIR
"""
import json
import pathlib
import re
import subprocess
import sys

UNITS = {"none", "reqps", "cps", "s", "bytes", "Bps", "percentunit", "dateTimeAsIso"}


def known_names(source):
    """Series that docs/metrics.md has; a C++ test holds that list equal to the catalogue."""
    rows = re.findall(r"^\| `(pikv_\w+)` \| (\w+) \|", (source / "docs/metrics.md").read_text(), re.M)
    known = set()
    for name, kind in rows:
        known |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return known


def check_panel(where, panel, known):
    problems = []
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        problems.append("has no known unit")
    if len(panel.get("description", "")) < 20:
        problems.append("is not explained")
    if not panel["targets"]:
        problems.append("asks nothing")
    for target in panel["targets"]:
        expr, legend = target["expr"], target["legendFormat"]
        names = set(re.findall(r"\bpikv_\w+", expr))
        problems += [f"names {x}, which is no metric" for x in sorted(names - known)]
        if not names or re.search(r"\bI\b|\[R\]", expr) or '$instance' not in expr:
            problems.append(f"has a query without metric or instance: {expr}")
        if len(re.sub(r"\{\{(\w+)\}\}", "", legend)) > 14:
            problems.append(f"has a long legend: {legend}")
        labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
        grouped = re.findall(r"^sum by \(([^)]*)\)", expr)
        if grouped and not labels <= {x.strip() for x in grouped[0].split(",")}:
            problems.append(f"has a legend of labels that {expr} sums away")
    return [f"{where} {x}" for x in problems]


def check_dashboard(name, text, known):
    board = json.loads(text)
    problems = []
    variables = [x["name"] for x in board["templating"]["list"]]
    if variables != ["datasource", "instance"]:
        problems.append(f"{name}: variables are {variables}")
    ids = [x["id"] for x in board["panels"]]
    places = [(x["gridPos"]["x"], x["gridPos"]["y"]) for x in board["panels"]]
    if len(set(ids)) != len(ids) or len(set(places)) != len(places):
        problems.append(f"{name}: panels share an id or a place")
    for panel in board["panels"]:
        problems += check_panel(f"{name}: {panel['title']}", panel, known)
    return problems


def main(source):
    folder = source / "monitoring/dashboards"
    if subprocess.run([sys.executable, "-B", folder / "generate.py", "--check"], timeout=60, check=False).returncode:
        sys.exit(1)
    files = sorted(folder.glob("*.json"))
    problems = [] if len(files) >= 6 else ["dashboards are missing"]
    known = known_names(source)
    seen = set()
    for file in files:
        text = file.read_text()
        problems += check_dashboard(file.name, text, known)
        seen |= set(re.findall(r"\bpikv_\w+", text))
    unseen = sorted(x for x in known - seen if not re.search(r"_(sum|count|bucket)$", x))
    problems += [f"{x} is on no dashboard" for x in unseen]
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
