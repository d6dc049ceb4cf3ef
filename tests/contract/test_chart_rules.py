"""Rules that every pod and every right of the chart keeps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from kit.settings import SERVICES
from services.executor.drivers import kube_owned
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from services.executor.states import RunType
from tests import chart

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = pytest.mark.parametrize("name", chart.EXAMPLES)
_VOLUMES = {"projected", "secret", "emptyDir", "configMap"}


def deployments(name: str) -> Iterator[tuple[str, chart.Manifest]]:
    for deployment in chart.of_kind(chart.objects(name), "Deployment").values():
        yield deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]


@EVERY
def test_pods_keep_the_restricted_standard(name: str) -> None:
    for pod in chart.pods(chart.objects(name)):
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"], pod.owner
        assert security["runAsUser"] >= 10000, pod.owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, pod.owner
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.spec.keys(), pod.owner
        for volume in pod.spec.get("volumes", ()):
            assert volume.keys() - {"name"} <= _VOLUMES, pod.owner
        for container in pod.spec["containers"] + pod.spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, pod.owner
            assert all("hostPort" not in port for port in container.get("ports", ())), pod.owner


@EVERY
def test_what_pods_write_has_a_limit(name: str) -> None:
    for pod in chart.pods(chart.objects(name)):
        for volume in pod.spec.get("volumes", ()):
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), pod.owner
        [container] = pod.spec["containers"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), pod.owner
        assert "memory" in container["resources"]["limits"], pod.owner


@EVERY
def test_the_executor_alone_may_speak_to_the_api_server(name: str) -> None:
    speakers = {
        pod.owner
        for pod in chart.pods(chart.objects(name))
        if pod.spec["automountServiceAccountToken"]
    }
    assert speakers == {"Deployment/elodrome-executor"}
    assert all(not pod.spec["enableServiceLinks"] for pod in chart.pods(chart.objects(name)))
    accounts = [spec["serviceAccountName"] for _, spec in deployments(name)]
    assert sorted(accounts) == sorted(chart.of_kind(chart.objects(name), "ServiceAccount"))


@EVERY
def test_rights_are_few_and_in_the_namespace_of_the_workers(name: str) -> None:
    found = chart.objects(name)
    assert not [x for x in found if x["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    [role] = chart.of_kind(found, "Role").values()
    [binding] = chart.of_kind(found, "RoleBinding").values()
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == chart.WORKLOADS
    assert [subject["name"] for subject in binding["subjects"]] == ["elodrome-executor"]
    rights = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    wanted = {("jobs", v) for v in ("create", "get", "list", "watch", "patch", "delete")}
    wanted |= {("pods", verb) for verb in ("create", "list", "watch", "delete")}
    wanted |= {("pods/log", "get")}
    wanted |= {(kind, verb) for kind in ("secrets", "services") for verb in ("create", "patch")}
    if name == "gpu":
        wanted |= {("workloads", "list"), ("workloads", "patch")}
    assert rights == wanted


@EVERY
def test_every_priority_that_the_executor_is_told_of_is_made(name: str) -> None:
    found = chart.objects(name)
    executor = next(p for p in chart.pods(found) if p.owner == "Deployment/elodrome-executor")
    told = json.loads(chart.environment(executor)["ELODROME_KUBE_PRIORITY_CLASSES"])
    made = chart.of_kind(found, "PriorityClass")
    assert told.keys() == {"trainer", "referee", "match", "build"}
    assert set(told.values()) == made.keys()
    # Nobody loses a place to another worker, and a match goes before a training.
    assert {each["preemptionPolicy"] for each in made.values()} == {"Never"}
    assert made[told["trainer"]]["value"] < made[told["match"]]["value"] < 0


def test_agents_run_where_the_values_say() -> None:
    for runtime_class in ("gvisor", ""):
        match = {"runtimeClassName": runtime_class, "allowUnsafeRuntime": True}
        found = chart.changed("production", workloads={"match": match})
        executor = next(p for p in chart.pods(found) if p.owner == "Deployment/elodrome-executor")
        told = chart.environment(executor).get("ELODROME_KUBE_MATCH_RUNTIME_CLASS", "")
        assert told == runtime_class


@EVERY
def test_the_quota_of_the_workers_lets_agents_in(name: str) -> None:
    """A pod that leaves out CPU or memory is refused by a quota of it, whatever is left."""
    launch = Launch("a1", ["x"], {}, kind=RunType.MATCH, seats=1, subject_id="match")
    place = Placement(chart.WORKLOADS, "elodrome/worker:1")
    [agent] = kube_owned.agents(launch, place, {"metadata": {"name": "elo-a1", "uid": "uid"}})
    [container] = agent["spec"]["containers"]
    [quota] = chart.of_kind(chart.objects(name), "ResourceQuota").values()
    ways = {f"{way}.{name}" for way, held in container["resources"].items() for name in held}
    of_everybody = {key for key in quota["spec"]["hard"] if key.endswith((".cpu", ".memory"))}
    assert of_everybody
    assert of_everybody <= ways


@EVERY
def test_probes_ask_for_three_different_things(name: str) -> None:
    for owner, spec in deployments(name):
        [container] = spec["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        start, alive, ready = (
            container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")
        )
        # Probes speak no TLS.
        asked = ports["grpc"] if name == "dev" else ports["health"]
        assert {probe["grpc"]["port"] for probe in (start, alive, ready)} == {asked}, owner
        # A database that is down takes a pod out of service and restarts none.
        assert alive["grpc"]["service"] == "liveness"
        assert "service" not in ready["grpc"]
        # A service waits five minutes for its database before it gives up by itself.
        assert start["periodSeconds"] * start["failureThreshold"] > 300


@EVERY
def test_a_pod_has_the_time_that_its_drain_takes(name: str) -> None:
    for owner, spec in deployments(name):
        [container] = spec["containers"]
        away_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] >= away_s + 25, owner


@EVERY
def test_pods_spread_over_zones_and_nodes(name: str) -> None:
    for owner, spec in deployments(name):
        keys = [each["topologyKey"] for each in spec["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], owner


@pytest.mark.parametrize("name", ["production", "gpu"])
def test_production_takes_images_by_digest(name: str) -> None:
    images = [
        container["image"]
        for pod in chart.pods(chart.objects(name))
        for container in pod.spec["containers"]
    ]
    executor = next(p for p in chart.pods(chart.objects(name)) if p.owner.endswith("-executor"))
    images.append(chart.environment(executor)["ELODROME_WORKER_IMAGE"])
    assert [image for image in images if not re.search("@sha256:[0-9a-f]{64}$", image)] == []


def test_budgets_let_one_pod_go() -> None:
    budgets = chart.of_kind(chart.objects("production"), "PodDisruptionBudget")
    assert budgets.keys() == {f"elodrome-{name}" for name in SERVICES} - {"elodrome-executor"}
    assert {budget["spec"]["maxUnavailable"] for budget in budgets.values()} == {1}


def test_the_namespace_of_the_workers_is_held_to_the_standard() -> None:
    namespace = chart.of_kind(chart.objects("dev"), "Namespace")[chart.WORKLOADS]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@EVERY
def test_migrations_come_before_the_services(name: str) -> None:
    jobs = chart.of_kind(chart.objects(name), "Job")
    migrations = {job["spec"]["template"]["spec"]["containers"][0]["name"] for job in jobs.values()}
    assert migrations == {*(f"migrate-{service}" for service in SERVICES), "streams", "admin"}
    hooks = {
        job["spec"]["template"]["spec"]["containers"][0]["name"]: job["metadata"]
        .get("annotations", {})
        .get("helm.sh/hook")
        for job in jobs.values()
    }
    if name == "dev":
        assert set(hooks.values()) == {None}
    else:
        assert hooks.pop("admin") == "post-install,post-upgrade"
        assert set(hooks.values()) == {"pre-install,pre-upgrade"}
