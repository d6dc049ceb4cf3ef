"""Who may talk to whom: every edge that exists, and nothing else."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import pytest

from kit.settings import SERVICES
from services.executor.drivers import kube_job, kube_owned
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from services.executor.states import RunType
from tests import chart, network_policies
from tests.network_policies import Place

GRPC = {name: 50050 + place for place, name in enumerate(SERVICES)}
METRICS = {name: 9100 + place for place, name in enumerate(SERVICES)}
HEALTH = [50060 + place for place, name in enumerate(SERVICES)]
PORTS = sorted(
    {*HEALTH, *GRPC.values(), *METRICS.values(), 53, 80, 443, 4222, 5432, 6443, 7000, 8080, 8222}
)
OUTSIDE = {
    "postgresql": Place(address="10.2.0.7"),
    "API server": Place(address="10.3.0.1"),
    "internet": Place(address="93.184.216.34"),
    "metadata": Place(address="169.254.169.254"),
    "node": Place(address="10.1.0.4"),
}
CALLS = {
    ("gateway", "registry"),
    ("gateway", "executor"),
    ("gateway", "evaluator"),
    ("gateway", "sessions"),
    ("registry", "executor"),
    ("registry", "evaluator"),
    ("executor", "registry"),
    ("evaluator", "registry"),
    ("evaluator", "executor"),
    ("sessions", "registry"),
    ("trainer", "executor"),
    ("trainer", "registry"),
    ("referee", "executor"),
    ("referee", "registry"),
    ("referee", "evaluator"),
}


def pod(component: str, *, namespace: str = chart.NAMESPACE, **more: str) -> Place:
    labels = {
        "app.kubernetes.io/name": "elodrome",
        "app.kubernetes.io/instance": chart.RELEASE,
        "app.kubernetes.io/component": component,
    }
    return Place(namespace, labels | {name.replace("_", "/"): text for name, text in more.items()})


def made(by_the_executor: chart.Manifest) -> Place:
    return Place(chart.WORKLOADS, by_the_executor["metadata"]["labels"])


def agents() -> list[chart.Manifest]:
    return kube_owned.agents(MATCH, PLACEMENT, {"metadata": {"name": "elo-a1", "uid": "uid"}})


LEARNER = pod("trainer", namespace=chart.WORKLOADS, elo_role="trainer", elo_together="true")
MATCH = Launch("a1", ["referee"], {}, kind=RunType.MATCH, seats=2, subject_id="match")
PLACEMENT = Placement(chart.WORKLOADS, "elodrome/worker:1")
REFEREE = kube_job.job(MATCH, PLACEMENT)
AGENTS = ("first agent", "second agent")
LEARNERS = ("first learner", "second learner")
PLACES = {
    **{name: pod(name) for name in SERVICES},
    "setup of the database": pod("setup", elodrome_reaches="database"),
    "setup of the bus": pod("setup", elodrome_reaches="bus"),
    "test": pod("test"),
    "stranger": Place(chart.NAMESPACE, {"app": "stranger"}),
    "trainer": pod("trainer", namespace=chart.WORKLOADS, elo_role="trainer"),
    "first learner": LEARNER,
    "second learner": LEARNER,
    "referee": made(REFEREE["spec"]["template"]),
    **dict(zip(AGENTS, map(made, agents()), strict=True)),
    "ingress": Place("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    "prometheus": Place("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "DNS": Place("kube-system", {"k8s-app": "kube-dns"}),
    "bus": Place("nats", {"app.kubernetes.io/name": "nats"}),
    "another namespace": Place("default", {"elo/role": "trainer"}),
    **OUTSIDE,
}
OURS = {name for name, at in PLACES.items() if at.namespace in {chart.NAMESPACE, chart.WORKLOADS}}


def edges() -> set[tuple[str, str, int, str]]:
    """Return every connection that may be made, as (from, to, port, protocol)."""
    resolving = OURS - {"stranger", *AGENTS}
    calls = CALLS | {(name, callee) for name in LEARNERS for callee in ("executor", "registry")}
    wanted = {(caller, callee, GRPC[callee], "TCP") for caller, callee in calls}
    wanted |= {(*pair, port, "TCP") for pair in permutations(LEARNERS, 2) for port in PORTS}
    wanted |= {("referee", name, 7000, "TCP") for name in AGENTS}
    wanted |= {(name, "DNS", 53, protocol) for name in resolving for protocol in ("TCP", "UDP")}
    wanted |= {(name, "postgresql", 5432, "TCP") for name in (*SERVICES, "setup of the database")}
    wanted |= {(name, "bus", 4222, "TCP") for name in (*SERVICES, "setup of the bus")}
    # The object store is somewhere outside; so are the others that were not placed.
    wanted |= {("registry", name, 443, "TCP") for name in ("postgresql", "API server", "internet")}
    wanted |= {("executor", "API server", port, "TCP") for port in (443, 6443)}
    wanted |= {("prometheus", name, METRICS[name], "TCP") for name in SERVICES}
    wanted |= {("ingress", "gateway", 8080, "TCP"), ("test", "gateway", 8080, "TCP")}
    return wanted


@cache
def policies() -> list[chart.Manifest]:
    return list(filter(lambda each: each["kind"] == "NetworkPolicy", chart.objects("production")))


def test_the_edges_are_those_that_exist_and_no_others() -> None:
    found = {
        (source, target, port, protocol)
        for source, target in product(PLACES, PLACES)
        if source != target and {source, target} & OURS
        for port, protocol in product(PORTS, ("TCP", "UDP"))
        if network_policies.allowed(policies(), PLACES[source], PLACES[target], port, protocol)
    }
    assert found == edges()


@pytest.mark.parametrize("name", chart.EXAMPLES)
def test_every_pod_is_denied_by_default_and_allowed_by_a_policy_of_its_own(name: str) -> None:
    found = chart.objects(name)
    known = list(chart.of_kind(found, "NetworkPolicy").values())
    assert known
    every = [each for each in found if each["kind"] == "NetworkPolicy"]
    for each in chart.pods(found):
        place = Place(each.namespace, each.labels)
        for way in ("Ingress", "Egress"):
            specs = network_policies.selecting(every, place, way)
            assert [spec for spec in specs if spec["podSelector"] == {}], each.owner
            assert len(specs) == 2, each.owner


def test_without_places_a_port_is_open_to_all_but_the_blocked_addresses() -> None:
    over = {"networkPolicy": {"postgresql": {"to": []}}}
    known = [x for x in chart.changed("production", **over) if x["kind"] == "NetworkPolicy"]
    reached = {
        name
        for name, place in OUTSIDE.items()
        if network_policies.allowed(known, PLACES["sessions"], place, 5432, "TCP")
    }
    assert reached == OUTSIDE.keys() - {"metadata", "node"}


def test_spans_may_leave_where_there_is_a_collector_and_nowhere_else() -> None:
    monitoring = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    to = {"networkPolicy": {"tracing": {"to": [monitoring]}}}
    with_one = to | {"tracing": {"otlpEndpoint": "http://collector.monitoring:4318"}}
    for over, senders in ((to, set()), (with_one, set(SERVICES))):
        known = [x for x in chart.changed("production", **over) if x["kind"] == "NetworkPolicy"]
        found = {
            (source, target)
            for source, target in product(PLACES, PLACES)
            if source in OURS
            and not {source, target} <= set(LEARNERS)
            and network_policies.allowed(known, PLACES[source], PLACES[target], 4318, "TCP")
        }
        assert found == {(name, "prometheus") for name in senders}


def test_policies_can_be_left_out() -> None:
    found = chart.changed("production", networkPolicy={"enabled": False})
    assert not chart.of_kind(found, "NetworkPolicy")
