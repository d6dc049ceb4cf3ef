"""The chart renders whatever its schema allows, and refuses the rest with the value's name."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from helm_python import HelmError, lint

from tests import chart, crds, random_values

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = pytest.mark.parametrize("name", chart.EXAMPLES)
RANDOM_SETS = 20


@EVERY
def test_an_example_passes_lint(name: str) -> None:
    report = lint(chart.CHART, chart.example(name), strict=True, kube_version="v1.31.0")
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@EVERY
@pytest.mark.parametrize("version", crds.VERSIONS)
def test_an_example_is_valid_for_a_version_of_kubernetes(name: str, version: str) -> None:
    for found in chart.objects(name):
        crds.validate(found, version)


def test_a_field_that_no_version_knows_is_noticed() -> None:
    found = {**chart.of_kind(chart.objects("dev"), "Service")["elodrome"], "sepc": {}}
    with pytest.raises(crds.ValidationError, match="sepc"):
        crds.validate(found, "1.37")
    monitor = chart.of_kind(chart.objects("production"), "ServiceMonitor")["elodrome"]
    with pytest.raises(crds.ValidationError, match="endponts"):
        crds.validate({**monitor, "spec": {"endponts": []}}, "1.37")


def drawn_installs() -> Iterator[list[chart.Manifest]]:
    """Render sets of values that the schema allows and no sentence refuses, the same each time."""
    generator, rendered = random.Random(20261127), 0
    while rendered < RANDOM_SETS:
        drawn = random_values.draw(chart.schema(), generator)
        # Objects of a user's own are whatever the user says.
        drawn.pop("extraObjects", None)
        values = chart.merge(drawn, {"dev": {"generateSecrets": True}})
        needed = {
            "postgresql": {"host": "db", "sslMode": "require"},
            "nats": {"url": "nats://bus:4222"},
            "objectStore": {"url": "s3://bucket"},
            "migrations": {"useHelmHooks": False},
        }
        values = chart.merge(values, needed)
        try:
            yield chart.render(values, namespace="somewhere")
            rendered += 1
        except HelmError as error:
            # A sentence about a value, not a template that fell over it.
            if not re.match(r"execution error at \([^)]*\): [a-zA-Z.]+: ", str(error)):
                raise


def test_whatever_the_schema_allows_is_valid() -> None:
    for number, found in enumerate(drawn_installs()):
        for each in found:
            crds.validate(each, crds.VERSIONS[number % len(crds.VERSIONS)])


def test_extra_objects_are_rendered() -> None:
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    assert extra in chart.changed("dev", extraObjects=[extra])


def test_every_level_of_the_schema_is_closed() -> None:
    def look(part: Any, path: str) -> None:
        if isinstance(part, dict):
            if "properties" in part:
                assert part.get("additionalProperties") is False, path
            for key, inner in part.items():
                look(inner, f"{path}.{key}")

    look(chart.schema(), "")


def leaves(values: dict[str, Any], path: str = "") -> set[str]:
    """Return the paths of all values that are no maps, or empty ones."""
    found = set()
    for name, value in values.items():
        deeper = isinstance(value, dict) and value
        found |= leaves(value, f"{path}{name}.") if deeper else {f"{path}{name}"}
    return found


def test_every_value_is_in_the_schema_and_explained() -> None:
    values = chart.chart().values
    schema, page = chart.schema(), (chart.CHART / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    assert values.keys() == schema["properties"].keys()
    assert values["defaults"].keys() == schema["properties"]["defaults"]["properties"].keys()
    unexplained = [
        leaf for leaf in leaves(values) if not any(f"{leaf}.".startswith(f"{row}.") for row in rows)
    ]
    assert unexplained == []


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replcas": 2}}, "replcas"),
        ({"postgresql": {"password": "hunter2"}}, "password"),
        ({"gateway": {"replicas": -1}}, "/gateway/replicas"),
        ({"gateway": {"settings": {"nats_password": "x"}}}, "nats_password"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"gateway": {"image": {"digest": "sha256:12"}}}, "/gateway/image/digest"),
        ({"postgresql": {"host": ""}}, "postgresql.host: name the host"),
        ({"postgresql": {"ca": {"existingSecret": ""}}}, "postgresql.ca.existingSecret: sslMode"),
        ({"postgresql": {"existingSecret": ""}}, "postgresql.existingSecret: name a Secret"),
        ({"nats": {"existingSecret": ""}}, "nats.existingSecret: name a Secret"),
        ({"auth": {"existingSecret": ""}}, "auth.existingSecret: name a Secret"),
        ({"nats": {"url": ""}}, "nats.url: name your NATS server"),
        ({"objectStore": {"url": ""}}, "objectStore.url: name where"),
        ({"dev": {"generateSecrets": True}}, "migrations.useHelmHooks: generated secrets"),
        ({"tls": {"existingSecret": ""}}, "tls.existingSecret: name a Secret"),
        (
            {"workloads": {"tlsSecret": ""}},
            "workloads.tlsSecret: name a Secret of elodrome-workloads",
        ),
        ({"ingress": {"host": ""}}, "ingress.host: name the host"),
        (
            {"workloads": {"match": {"runtimeClassName": ""}}},
            "workloads.match.runtimeClassName: agents of others",
        ),
        (
            {"workloads": {"build": {"priorityClass": {"name": "elodrome-match"}}}},
            "workloads.match.priorityClass.name: elodrome-match is made by workloads.build",
        ),
        ({"workloads": {"build": {"priorityClas": {}}}}, "priorityClas"),
        ({"workloads": {"namespace": "elodrome"}}, "workloads.namespace: elodrome is the"),
        (
            {"executor": {"podDisruptionBudget": {"enabled": True}}},
            "executor.podDisruptionBudget.enabled: a budget with one pod",
        ),
        (
            {"gateway": {"autoscaling": {"minReplicas": 9}}},
            "gateway.autoscaling.minReplicas: 9 is more than maxReplicas, 6",
        ),
        (
            {"registry": {"keda": {"enabled": True, "minReplicas": 2}}},
            "keda.natsMonitoringEndpoint: registry.keda needs",
        ),
        ({"gateway": {"keda": {"enabled": True, "minReplicas": 2}}}, "gateway.keda.enabled:"),
        ({"gateway": {"settings": {"keys_dir": "/tmp"}}}, "gateway.settings.keys_dir: the chart"),
    ],
)
def test_a_wrong_value_is_refused_by_name(over: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as refusal:
        chart.changed("production", **over)
    assert words in str(refusal.value)


def test_values_that_are_missing_are_named() -> None:
    with pytest.raises(HelmError, match=r"postgresql\.host"):
        chart.render({})


def test_an_unsafe_runtime_has_to_be_said_aloud() -> None:
    match = {"runtimeClassName": "", "allowUnsafeRuntime": True}
    assert chart.changed("production", workloads={"match": match})


@pytest.mark.parametrize("scale", ["autoscaling", "keda"])
def test_what_scales_a_service_decides_its_replicas_alone(scale: str) -> None:
    over = {
        "evaluator": {scale: {"enabled": True, "minReplicas": 2}},
        "keda": {"natsMonitoringEndpoint": "nats.nats:8222"},
    }
    found = chart.changed("production", **over)
    deployment = chart.of_kind(found, "Deployment")["elodrome-evaluator"]
    assert "replicas" not in deployment["spec"]
    scalers = {"autoscaling": "HorizontalPodAutoscaler", "keda": "ScaledObject"}
    kinds = {
        kind for kind in scalers.values() if "elodrome-evaluator" in chart.of_kind(found, kind)
    }
    assert kinds == {scalers[scale]}
    for each in found:
        crds.validate(each, crds.VERSIONS[-1])


def test_an_upgrade_changes_nothing_that_cannot_change() -> None:
    """Selectors stay whatever else does; a plain Job that differs has another name."""
    before, after = (
        chart.objects("production"),
        chart.changed(
            "production",
            image={"tag": "0.2.0"},
            defaults={"podAnnotations": {"a": "b"}, "priorityClassName": "high"},
            workloads={"image": {"digest": ""}},
        ),
    )
    for kind in ("Deployment", "StatefulSet"):
        old, new = chart.of_kind(before, kind), chart.of_kind(after, kind)
        assert old.keys() == new.keys()
        for name in old:
            assert old[name]["spec"]["selector"] == new[name]["spec"]["selector"]
    services = chart.of_kind(before, "Service"), chart.of_kind(after, "Service")
    for name in services[0]:
        ips = [found[name]["spec"].get("clusterIP") for found in services]
        assert ips[0] == ips[1]
    jobs = [
        chart.of_kind(chart.changed("dev", image={"tag": tag}), "Job") for tag in ("1.0", "2.0")
    ]
    assert len(jobs[0]) == len(jobs[1]) == 7
    assert jobs[0].keys().isdisjoint(jobs[1])
    assert jobs[0] == chart.of_kind(chart.changed("dev", image={"tag": "1.0"}), "Job")


def test_selectors_hold_only_labels_that_never_change() -> None:
    for deployment in chart.of_kind(chart.objects("dev"), "Deployment").values():
        names = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        labels = deployment["spec"]["selector"]["matchLabels"]
        assert labels.keys() == names | {"app.kubernetes.io/component"}
