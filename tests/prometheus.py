"""A Prometheus of one's own, and what the chart gives it: alert rules and dashboards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
import yaml

from deploy.laptop.install import PORTS
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
RULES = ROOT / "helm" / "elodrome" / "rules" / "alerts.yaml"
DASHBOARDS = ROOT / "helm" / "elodrome" / "dashboards"
_CONFIG = ROOT / "deploy" / "laptop" / "prometheus.yaml"
# Where scripts/prometheus.sh unpacks Debian's package, which would start its own if installed.
_UNPACKED = ROOT / ".build" / "prometheus" / "usr" / "bin"
_AGE = re.compile(r"> (60|300|1800)\b")
_WINDOW = re.compile(r"\[\d+[mh]\]")


class Query(NamedTuple):
    """What a panel asks, with its variables filled in."""

    dashboard: str
    panel: str
    expr: str


def program(name: str) -> str:
    """Return where `prometheus` or `promtool` is; a machine without Debian's packages skips."""
    found = shutil.which(name, path=f"{_UNPACKED}:{os.environ['PATH']}")
    if found is None and shutil.which("apt-get") is None:
        pytest.skip(f"{name} is not on this machine, and there is no apt-get to get it with")
    assert found, f"{name} is missing: scripts/prometheus.sh fetches Debian's package"
    return found


def rules() -> list[dict[str, Any]]:
    """Return the alert rules of the chart."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def hurried_rules() -> str:
    """Return the rules as YAML with ages, windows and waits of seconds instead of minutes."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in groups["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _WINDOW.sub("[10s]", _AGE.sub("> 2", rule["expr"]))
            rule.pop("for", None)
    return yaml.safe_dump(groups)


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards of the chart by name."""
    paths = sorted(DASHBOARDS.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def queries(window: str = "15s") -> list[Query]:
    """Return every query of every panel as Grafana would send it."""
    return [
        Query(
            name,
            panel["title"],
            target["expr"].replace("$__rate_interval", window).replace("$namespace", ".*"),
        )
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


class Prometheus:
    """A server that runs; `url` is where it answers."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples that a query yields now."""
        answer = self._client.get("/query", params={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        return list(answer["data"]["result"])

    def value(self, expr: str) -> float | None:
        """Return the one value that a query yields; None without any."""
        found = self.ask(expr)
        return float(found[0]["value"][1]) if found else None

    def fired(self) -> set[str]:
        """Return the alerts that fired at least once."""
        samples = self.ask('count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
        return {sample["metric"]["alertname"] for sample in samples}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire now, with their annotations."""
        return list(self._client.get("/alerts").json()["data"]["alerts"])


@contextmanager
def watching(
    directory: Path, port: int, ports: Mapping[str, int], rules: str
) -> Iterator[Prometheus]:
    """Run a server that reads an install by its ports, by name, each second, and watches rules."""
    (directory / "alerts.yaml").write_text(rules, encoding="utf-8")
    text = _CONFIG.read_text(encoding="utf-8")
    for name, rule in PORTS.items():
        text = text.replace(f":{rule.default}", f":{ports[name]}") if "metrics" in name else text
    config = yaml.safe_load(text)
    config["rule_files"] = ["alerts.yaml"]
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as running:
        try:
            eventually_sync(lambda: _is_ready(url), within_s=30)
            yield Prometheus(url)
        finally:
            running.terminate()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False
