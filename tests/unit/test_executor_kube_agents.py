"""Jobs of matches and builds, and the pods of their agents: given nothing, reached by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from services.executor.drivers import kube_job, kube_owned
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from services.executor.resources import Resources
from services.executor.states import RunType
from tests import crds

RUN_ID = "0c6f6e52-9b5a-4d0e-8f52-2f1c93a3b9d1"
MATCH_ID = "6a3c8a7e-52d0-4f5a-9a55-0c6e8e1f2b34"
NAME = f"{RUN_ID}-a1"
JOB = f"elo-{NAME}"
OWNER = {"metadata": {"name": JOB, "uid": "the uid"}}
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJqb2IifQ.c2ln"
PLAIN = Placement(namespace="workloads", image="example.org/worker:1.2")
FULL = Placement(
    namespace="workloads",
    image="example.org/worker@sha256:" + "0" * 64,
    priority_classes={"trainer": "low", "referee": "low", "match": "high", "build": "mid"},
    runtime_class="nvidia",
    queue="team-a",
    image_pull_secrets=["registry"],
    tls_secret="elodrome-workers-tls",
    match_runtime_class="gvisor",
)


def a_launch(**fields: Any) -> Launch:
    values = {
        "name": NAME,
        "command": ["python", "-m", "referee"],
        "environment": {"ELODROME_EXECUTOR_ADDRESS": "executor:50052"},
        "secrets": {"ELODROME_JOB_TOKEN": TOKEN},
        "kind": RunType.MATCH,
        "run_id": RUN_ID,
        "owner_id": "5d3e6a0e-8f5c-4b55-8c5b-1d6f0b8ad7f2",
        "resources": Resources(1, 4 << 30, 0),
        "seats": 2,
        "subject_id": MATCH_ID,
    }
    return Launch(**values | fields)


def variables(launch: Launch, placement: Placement = PLAIN) -> dict[str, str]:
    [container] = kube_job.job(launch, placement)["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


@pytest.mark.parametrize("version", crds.VERSIONS)
def test_jobs_and_pods_fit_the_strict_schema(version: str) -> None:
    for kind in (RunType.MATCH, RunType.BUILD):
        for placement in (PLAIN, FULL):
            launch = a_launch(kind=kind)
            crds.validate(kube_job.job(launch, placement), version)
            crds.validate(kube_owned.service(launch, placement, OWNER), version)
            pods = kube_owned.agents(launch, placement, OWNER)
            assert len(pods) == 2
            for pod in pods:
                crds.validate(pod, version)


@pytest.mark.parametrize(
    ("kind", "label", "deadline_s", "ttl_s", "priority"),
    [
        (RunType.MATCH, "elo/match", 450, 600, "high"),
        (RunType.BUILD, "elo/submission", 900, 3600, "mid"),
    ],
)
def test_a_job_names_what_it_is_about_and_has_the_limits_of_its_kind(
    kind: RunType, label: str, deadline_s: int, ttl_s: int, priority: str
) -> None:
    job = kube_job.job(a_launch(kind=kind), FULL)
    spec, labels = job["spec"], job["metadata"]["labels"]
    assert (labels[label], labels["elo/seats"]) == (MATCH_ID, "2")
    assert (labels["elo/kind"], labels["elo/role"]) == (kind.lower(), "referee")
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, deadline_s)
    assert spec["ttlSecondsAfterFinished"] == ttl_s
    template = spec["template"]["spec"]
    assert (template["terminationGracePeriodSeconds"], template["priorityClassName"]) == (
        5,
        priority,
    )
    [codes] = [r["onExitCodes"] for r in spec["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    assert (codes["operator"], codes["values"]) == ("NotIn", [0])


def test_no_limit_of_a_run_makes_a_match_longer() -> None:
    long = kube_job.job(a_launch(deadline_s=1500.0), PLAIN)
    assert long["spec"]["activeDeadlineSeconds"] == 450
    [pod, _] = kube_owned.agents(a_launch(deadline_s=1500.0), PLAIN, OWNER)
    assert pod["spec"]["activeDeadlineSeconds"] == 450


def test_a_match_waits_in_no_queue_because_its_agents_would_wait_for_it() -> None:
    job = kube_job.job(a_launch(), FULL)
    assert not job["spec"]["suspend"]
    assert "kueue" not in json.dumps(job)


def test_a_referee_is_told_where_the_agent_of_each_seat_is() -> None:
    launch = a_launch()
    assert variables(launch)["ELODROME_AGENTS"] == (
        f"agent-0.{JOB}.workloads.svc:7000,agent-1.{JOB}.workloads.svc:7000"
    )
    service = kube_owned.service(launch, PLAIN, OWNER)
    job = kube_job.job(launch, PLAIN)
    assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == (JOB, "None")
    for seat, pod in enumerate(kube_owned.agents(launch, PLAIN, OWNER)):
        assert pod["spec"]["hostname"] == f"agent-{seat}"
        assert pod["spec"]["subdomain"] == JOB
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    workers = job["spec"]["template"]["metadata"]["labels"]
    assert not service["spec"]["selector"].items() <= workers.items()


def test_a_match_without_seats_has_no_agents() -> None:
    launch = a_launch(seats=0)
    assert variables(launch)["ELODROME_AGENTS"] == ""
    assert "elo/seats" not in kube_job.job(launch, PLAIN)["metadata"]["labels"]
    assert kube_owned.agents(launch, PLAIN, OWNER) == []


def test_an_agent_is_given_nothing() -> None:
    launch = a_launch(environment={"ELODROME_EXECUTOR_ADDRESS": "executor:50052", "X": "private"})
    for pod in kube_owned.agents(launch, FULL, OWNER):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert {item["name"] for item in container["env"]} == {
            "LANG",
            "PYTHONUNBUFFERED",
            "PYTHONDONTWRITEBYTECODE",
        }
        assert all(volume.keys() == {"name", "emptyDir"} for volume in spec["volumes"])
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]
        assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
        text = json.dumps(pod)
        for word in (TOKEN, "ELODROME", "private", "tls", "executor"):
            assert word not in text


def test_an_agent_has_no_rights_and_writes_little() -> None:
    for pod in kube_owned.agents(a_launch(), FULL, OWNER):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["runtimeClassName"] == "gvisor"
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] >= 10000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == {"/tmp", "/work"}
        assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"])


def test_an_agent_runs_as_the_cluster_does_where_no_runtime_class_is_named() -> None:
    [pod, _] = kube_owned.agents(a_launch(), PLAIN, OWNER)
    assert "runtimeClassName" not in pod["spec"]


def test_an_agent_belongs_to_its_job_and_is_no_worker() -> None:
    pods = kube_owned.agents(a_launch(), PLAIN, OWNER)
    assert len({pod["metadata"]["name"] for pod in pods}) == 2
    for seat, pod in enumerate(pods):
        metadata = pod["metadata"]
        [owner] = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", JOB, "the uid")
        # The Job's controller would let go of a pod that it controls and does not select.
        assert "controller" not in owner
        labels = metadata["labels"]
        assert (labels["elo/role"], labels["elo/agent-of"]) == ("agent", NAME)
        assert (labels["elo/seat"], labels["elo/match"]) == (str(seat), MATCH_ID)
        assert not labels.keys() & {kube_job.MANAGED_BY, kube_job.NAME_LABEL}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subject_id": ""}, "subject_id"),
        ({"subject_id": "a,elo/role=referee"}, "label elo/match"),
        ({"subject_id": "a b"}, "label elo/match"),
        ({"subject_id": "x" * 64}, "label elo/match"),
        ({"kind": RunType.BUILD, "subject_id": "a\n"}, "label elo/submission"),
        ({"kind": RunType.EVALUATION, "seats": 0}, "subject_id"),
        ({"kind": RunType.TRAINING, "subject_id": ""}, "seats"),
        ({"seats": -1}, "seats"),
        ({"seats": 17}, "seats"),
        ({"learners": 2}, "learners"),
        ({"name": "../other"}, "name"),
        ({"secrets": {"ELODROME_AGENTS": "evil:7000"}}, "ELODROME_AGENTS"),
    ],
)
def test_what_no_match_can_have_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    launch = a_launch(**fields)
    with pytest.raises(ValueError, match=field):
        kube_job.job(launch, PLAIN)


@pytest.mark.parametrize("name", ["../other", "A", "a b"])
def test_a_name_that_is_none_reaches_no_pod(name: str) -> None:
    with pytest.raises(ValueError, match=r"name|label elo/agent-of"):
        kube_owned.agents(a_launch(name=name), PLAIN, OWNER)
    with pytest.raises(ValueError, match="name"):
        kube_owned.agent_name(name, 0)


def test_nobody_can_tell_a_referee_of_other_agents() -> None:
    told = variables(a_launch(environment={"ELODROME_AGENTS": "evil.example:7000"}))
    assert told["ELODROME_AGENTS"].startswith("agent-0.")
    none = variables(a_launch(seats=0, environment={"ELODROME_AGENTS": "evil.example:7000"}))
    assert none["ELODROME_AGENTS"] == ""


def test_the_command_of_an_agent_is_taken_as_it_is() -> None:
    placement = replace(PLAIN, agent_command=["sh", "-c", "echo $(HOME)"])
    [pod, _] = kube_owned.agents(a_launch(), placement, OWNER)
    assert pod["spec"]["containers"][0]["command"] == ["sh", "-c", "echo $$(HOME)"]
    [pod, _] = kube_owned.agents(a_launch(), PLAIN, OWNER)
    assert pod["spec"]["containers"][0]["command"] == [
        *("python", "-m", "referee.sandbox.runner", "--listen", "7000")
    ]
