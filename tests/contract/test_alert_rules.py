"""Alert rules: each fires by a breach and stays quiet below it, and each says what to do."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from tests import chart, prometheus

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = prometheus.ROOT / "docs" / "operate-alerts.md"
NAMES = [rule["alert"] for rule in prometheus.rules()]
_PARTS = ("**Means**", "**Look**", "**Do**")


class Case(NamedTuple):
    """Series by minute that breach one rule, others that do not quite, and when it fires."""

    breach: dict[str, str]
    healthy: dict[str, str]
    minute: int


def _rpc(code: str) -> str:
    return f'elodrome_rpcs_total{{component="executor",rpc="v1.RunService/GetRun",code="{code}"}}'


def _slow(share: int) -> dict[str, str]:
    name = "elodrome_rpc_duration_seconds"
    return {
        f'{name}_bucket{{component="executor",le="0.5"}}': f"0+{100 - share}x80",
        f'{name}_count{{component="executor"}}': "0+100x80",
    }


def _loop(name: str, values: str, interval_s: int = 1) -> dict[str, str]:
    where = '{component="executor",loop="reconciler"}'
    return {
        f"elodrome_{name}{where}": values,
        f"elodrome_loop_interval_seconds{where}": f"{interval_s}+0x20",
    }


def _one(series: str, breach: str, healthy: str, minute: int) -> Case:
    return Case({series: breach}, {series: healthy}, minute)


def _http(status: int) -> str:
    return f'elodrome_http_requests_total{{method="GET",route="/api/v1/runs",status="{status}"}}'


_WHERE = '{component="evaluator",stream="REGISTRY"}'
_POOL = 'elodrome_database_connections_{}{{component="executor",pod="a"}}'
CASES = {
    "ElodromeServiceDown": _one(
        'up{job="elodrome",component="sessions",instance="a:9104"}', "0+0x9", "1+0x9", 3
    ),
    "ElodromeNotReady": _one('elodrome_ready{component="executor"}', "0+0x9", "1+0x9", 3),
    "ElodromeCallsFail": _one(_rpc("INTERNAL"), "0 0 1 1 1", "7+0x9", 4),
    "ElodromeErrorRatio": Case(
        {_rpc("UNAVAILABLE"): "0+6x15", _rpc("OK"): "0+60x15"},
        {_rpc("UNAVAILABLE"): "0+2x15", _rpc("OK"): "0+60x15", _rpc("NOT_FOUND"): "0+60x15"},
        8,
    ),
    "ElodromeRequestsFail": Case(
        {_http(503): "0+6x15", _http(200): "0+60x15"},
        {_http(503): "0+2x15", _http(200): "0+60x15", _http(404): "0+60x15"},
        8,
    ),
    "ElodromeLatencyBudgetBurns": Case(_slow(20), _slow(10), 64),
    "ElodromeBusAway": _one('elodrome_bus_connected{component="gateway"}', "0+0x9", "1+0x9", 6),
    "ElodromeOutboxStuck": _one(
        'elodrome_outbox_oldest_event_seconds{component="executor"}', "0+60x9", "0+5x9", 5
    ),
    "ElodromeConsumerBehind": _one(
        f"elodrome_consumer_pending_events{_WHERE}", "2000+0x15", "900+0x15", 12
    ),
    "ElodromeEventHeldUp": _one(f"elodrome_event_deliveries{_WHERE}", "3+1x5", "2+0x5", 2),
    "ElodromeDeadLetters": _one('elodrome_dead_letters{component="registry"}', "1+0x5", "0+0x5", 1),
    "ElodromeDivergenceOld": Case(
        _loop("divergence_oldest_seconds", "0+60x20"),
        _loop("divergence_oldest_seconds", "0+60x20", interval_s=600),
        12,
    ),
    "ElodromeLoopSilent": Case(
        _loop("loop_passed_timestamp_seconds", "0+0x20"),
        _loop("loop_passed_timestamp_seconds", "0+60x20"),
        5,
    ),
    "ElodromeLoopLag": _one('elodrome_loop_lag_seconds{component="executor"}', "2+0x5", "1+0x5", 2),
    "ElodromePoolExhausted": Case(
        {_POOL.format("in_use"): "16+0x5", _POOL.format("limit"): "16+0x5"},
        {_POOL.format("in_use"): "15+0x5", _POOL.format("limit"): "16+0x5"},
        3,
    ),
    "ElodromeQueueOld": _one(
        'elodrome_queue_oldest_seconds{queue="jobs"}', "1801+60x15", "0+60x15", 11
    ),
    "ElodromeLeasesExpire": _one(
        'elodrome_jobs_ended_total{outcome="LEASE_EXPIRED"}', "0+1x20", "0+0x10 1+0x10", 16
    ),
    "ElodromeArtifactDamaged": _one("elodrome_artifacts_damaged_total", "0 0 1+0x9", "3+0x9", 4),
    "ElodromeCertificateExpires": _one(
        'elodrome_certificate_expires_timestamp_seconds{component="gateway"}',
        "259200+0x20",
        "261000+0x20",
        12,
    ),
}


def _group(series: dict[str, str], minute: int, firing: list[str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing
                ],
            }
        ],
    }


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [prometheus.program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_rule_has_a_case() -> None:
    assert list(CASES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_fires_by_its_breach_and_stays_quiet_below(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tests = [_group(case.breach, case.minute, [name]), _group(case.healthy, case.minute, [])]
    path = tmp_path / "tests.yaml"
    described = {"rule_files": [str(prometheus.RULES)], "tests": tests, "evaluation_interval": "1m"}
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    done = _promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    done = _promtool("check", "rules", str(prometheus.RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout


@pytest.mark.parametrize("rule", prometheus.rules(), ids=NAMES)
def test_a_rule_says_what_it_means_and_where_that_is_explained(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    path, _, anchor = annotations["runbook_url"].partition("#")
    assert (path, anchor) == ("docs/operate-alerts.md", rule["alert"].lower())
    assert rule["labels"]["severity"] in {"warning", "critical"}
    text = RUNBOOK.read_text(encoding="utf-8")
    section = re.search(rf"^## {rule['alert']}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/operate-alerts.md has no section {rule['alert']}"
    assert all(part in section[1] for part in _PARTS)


@pytest.mark.parametrize("rule", prometheus.rules(), ids=NAMES)
def test_a_rule_names_only_labels_that_its_result_has(rule: dict[str, Any]) -> None:
    kept = {
        name for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for name in group.split(", ")
    }
    # Without an aggregation a sample keeps what it was read with.
    kept |= set() if kept else {"component", "instance"}
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= kept


def test_the_chart_narrows_the_rules_to_its_namespace() -> None:
    found = chart.of_kind(chart.objects("production"), "PrometheusRule")["elodrome"]
    narrowed = f'namespace="{chart.NAMESPACE}"'
    [group] = found["spec"]["groups"]
    for rule, source in zip(group["rules"], prometheus.rules(), strict=True):
        assert rule["expr"] == source["expr"].replace('namespace=~".*"', narrowed)
        selectors = re.findall(r"\b(?:elodrome_\w+|up)(?:\{([^}]*)\})?", rule["expr"])
        assert selectors
        assert all(narrowed in selector for selector in selectors), rule["alert"]
