"""Looks for weaknesses in what the chart renders, with checkov: `make scan`.

Checkov pins libraries that Elodrome has in later versions, so it lives in an environment of its
own. What it may find stands in scripts/scan.yaml.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

from scripts.chart import CHART, EXAMPLES, ROOT, example, rendered

_PLACE = ROOT / ".build" / "scan"
_REQUIREMENTS = ROOT / "scripts" / "scan-requirements.txt"
_OPTIONS = ["--framework", "kubernetes", "--skip-download", "--soft-fail", "--output", "json"]

Finding = dict[str, Any]


def install() -> Path:
    """Return checkov; installs it where it is missing or another version."""
    environment = _PLACE / "venv"
    mark = environment / "installed.txt"
    wanted = _REQUIREMENTS.read_text(encoding="utf-8")
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(environment, ignore_errors=True)
        pip = [f"{environment}/bin/python", "-m", "pip", "--quiet", "install"]
        for command in (
            [sys.executable, "-m", "venv", str(environment)],
            [*pip, "--only-binary", ":all:", "--requirement", str(_REQUIREMENTS)],
        ):
            subprocess.run(command, check=True)  # noqa: S603 - ours
        mark.write_text(wanted, encoding="utf-8")
    return environment / "bin" / "checkov"


def render(place: Path) -> None:
    """Write every object of each install, and what deploy/k8s has, to a directory."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "k8s" / "manifests.yaml", place)
    with Chart.load(CHART) as chart:
        for name in EXAMPLES:
            texts = rendered(chart, example(name))
            (place / f"{name}.yaml").write_text("\n---\n".join(texts), encoding="utf-8")


def exceptions() -> list[dict[str, Any]]:
    """Return what may be found."""
    return yaml.safe_load((ROOT / "scripts" / "scan.yaml").read_text(encoding="utf-8"))


def judge(failed: list[Finding], allowed: list[dict[str, Any]]) -> list[str]:
    """Return a line for each finding that is not allowed, and for each exception without one."""
    covered = [[passes(finding, each) for each in allowed] for finding in failed]
    lines = [
        f"{finding['check_id']} {finding['check_name']}: {finding['resource']} in"
        f" {Path(finding['file_path']).name}"
        for finding, by in zip(failed, covered, strict=True)
        if not any(by)
    ]
    for index, each in enumerate(allowed):
        if not any(by[index] for by in covered):
            lines.append(f"scripts/scan.yaml lets {each['check']} pass, which nothing fails")
    return lines


def passes(finding: Finding, allowed: dict[str, Any]) -> bool:
    """Return whether an exception covers a finding."""
    return (
        finding["check_id"] == allowed["check"]
        and Path(finding["file_path"]).name
        in allowed.get("files", [Path(finding["file_path"]).name])
        and finding["resource"] in allowed.get("resources", [finding["resource"]])
    )


def main() -> int:
    """Look; 0 when there is nothing to say."""
    place = _PLACE / "manifests"
    render(place)
    # From within: checkov looks at nothing below a directory whose name begins with a dot.
    command = [str(install()), *_OPTIONS, "--directory", "."]
    done = subprocess.run(command, cwd=place, check=True, stdout=subprocess.PIPE)  # noqa: S603 - ours
    report = json.loads(done.stdout)
    if "results" not in report:
        sys.exit(f"checkov looked at nothing in {place}")
    lines = judge(report["results"]["failed_checks"], exceptions())
    for line in lines:
        print(line)
    passed, failed = report["summary"]["passed"], report["summary"]["failed"]
    print(f"{passed} checks passed, {failed} failed, {len(lines)} to be answered")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
