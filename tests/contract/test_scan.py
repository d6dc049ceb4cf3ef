"""`make scan` looks at every example of the chart, and lets nothing pass without a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from scripts import scan
from tests import chart

if TYPE_CHECKING:
    from pathlib import Path


def a_finding(**fields: str) -> dict[str, Any]:
    values = {
        "check_id": "CKV_K8S_38",
        "check_name": "Tokens are only mounted where necessary",
        "resource": "Deployment.elodrome.elodrome-executor",
        "file_path": "/dev.yaml",
    }
    return values | fields


ALLOWED = {"check": "CKV_K8S_38", "files": ["dev.yaml"], "resources": [a_finding()["resource"]]}


def test_whatever_may_be_found_has_a_reason() -> None:
    for each in scan.exceptions():
        assert each.keys() <= {"check", "files", "resources", "reason"}
        assert len(each["reason"]) > 20, each


def test_an_exception_holds_for_what_it_names_alone() -> None:
    assert scan.judge([a_finding()], [ALLOWED]) == []
    others = [
        a_finding(check_id="CKV_K8S_11"),
        a_finding(resource="Deployment.elodrome.elodrome-gateway"),
        a_finding(file_path="/production.yaml"),
    ]
    for other in others:
        [line] = scan.judge([a_finding(), other], [ALLOWED])
        assert other["check_id"] in line
        assert other["resource"] in line


def test_an_exception_that_nothing_needs_is_told() -> None:
    assert scan.judge([], [ALLOWED]) == [
        "scripts/scan.yaml lets CKV_K8S_38 pass, which nothing fails"
    ]


def test_every_example_is_looked_at(tmp_path: Path) -> None:
    there = {path.stem for path in (chart.CHART / "examples").glob("*.yaml")}
    assert {file for files in chart.EXAMPLES.values() for file in files} == there
    scan.render(tmp_path / "manifests")
    for name in chart.EXAMPLES:
        text = (tmp_path / "manifests" / f"{name}.yaml").read_text(encoding="utf-8")
        found = [each for each in yaml.safe_load_all(text) if each]
        assert len(found) == len(chart.objects(name))
    assert (tmp_path / "manifests" / "manifests.yaml").exists()
