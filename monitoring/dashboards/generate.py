#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the Grafana dashboards of panels.py beside itself, one JSON file each.

generate.py            writes the files
generate.py --check    writes nothing; fails and names the files that are not what would be written
"""
import json
import pathlib
import re
import sys

import panels

FOLDER = pathlib.Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
# Units of single figures, which have no course in time.
STATS = {"dateTimeAsIso"}


def promql(text):
    """Fills in the matcher of instances and the window of rates."""
    text = re.sub(r"\{I\b", '{instance=~"$instance"', text)
    return re.sub(r"\[R\]", "[$__rate_interval]", text)


def panel(number, title, unit, description, queries):
    place = {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
    out = {
        "id": number + 1,
        "type": "stat" if unit in STATS else "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {}}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": promql(expr), "legendFormat": legend,
             "editorMode": "code", "range": True}
            for i, (expr, legend) in enumerate(queries)
        ],
    }
    if unit in STATS:
        out["fieldConfig"]["defaults"] = {"unit": unit}
        out["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    else:
        out["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"}
        out["options"] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                          "tooltip": {"mode": "multi", "sort": "desc"}}
    return out


def variables():
    return [
        {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "refresh": 1},
        {"name": "instance", "label": "Instance", "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
         "query": {"query": "label_values(pikv_build_info, instance)", "refId": "instances"},
         "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}},
    ]


def dashboard(name, title, entries):
    return {
        "uid": f"pikv-{name}",
        "title": title,
        "tags": ["pikv"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "title": "PiKV", "tags": ["pikv"], "asDropdown": True, "includeVars": True,
                   "keepTime": True}],
        "templating": {"list": variables()},
        "panels": [panel(i, *x) for i, x in enumerate(entries)],
    }


def files():
    """The text of each file by its name."""
    return {f"{name}.json": json.dumps(dashboard(name, title, entries), indent=1) + "\n"
            for name, title, entries in panels.DASHBOARDS}


if __name__ == "__main__":
    wanted = files()
    if sys.argv[1:] == ["--check"]:
        there = {x.name: x.read_text() for x in FOLDER.glob("*.json")}
        wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        for name in wrong:
            print(f"monitoring/dashboards/{name} is not what generate.py writes; run it")
        sys.exit(1 if wrong else 0)
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
