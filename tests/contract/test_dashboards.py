"""Dashboards are what Grafana takes, and ask for metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import chart, prometheus

if TYPE_CHECKING:
    from pathlib import Path

ALL = prometheus.dashboards()
EVERY = pytest.mark.parametrize("name", ALL)
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24


def test_ids_of_dashboards_are_unique() -> None:
    assert len({dashboard["uid"] for dashboard in ALL.values()}) == len(ALL) == 4


@EVERY
def test_a_dashboard_has_what_grafana_needs(name: str) -> None:
    dashboard = ALL[name]
    assert dashboard["uid"] == f"elodrome-{name}"
    assert dashboard["schemaVersion"] >= 36
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["namespace"]["datasource"] == _SOURCE
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"] == _SOURCE
        assert panel["description"]
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


@EVERY
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in ALL[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= _WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@EVERY
def test_a_dashboard_knows_the_variables_it_uses(name: str) -> None:
    known = {f"${each['name']}" for each in ALL[name]["templating"]["list"]}
    for panel in ALL[name]["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\$\w+", target["expr"]))
            assert used <= known | {"$__rate_interval"}
            # Where several installs share a Prometheus, each sees its own.
            for selector in re.findall(
                r"(?:elodrome_\w+|process_\w+|\bup)(\{[^}]*\})?", target["expr"]
            ):
                assert "$namespace" in selector, target["expr"]


def test_every_query_parses(tmp_path: Path) -> None:
    found = [
        {"record": f"panel:{number}", "expr": query.expr}
        for number, query in enumerate(prometheus.queries())
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": found}]}))
    command = [prometheus.program("promtool"), "check", "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_makes_them_config_maps() -> None:
    found = chart.of_kind(chart.objects("production"), "ConfigMap")
    shown: dict[str, Any] = {}
    for each in found.values():
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        [(key, text)] = each["data"].items()
        shown[key.removeprefix("elodrome-").removesuffix(".json")] = json.loads(text)
    assert shown == ALL


def test_they_are_left_out_unless_asked_for() -> None:
    assert not chart.of_kind(chart.objects("dev"), "ConfigMap")
