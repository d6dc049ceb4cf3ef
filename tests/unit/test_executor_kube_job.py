"""The Job of an attempt: accepted by every version of Kubernetes, and of no use to an attacker."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import jsonschema
import pytest

from kit.settings import TLS_FILES
from services.executor.drivers import kube_job, kube_owned
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from services.executor.resources import Resources
from services.executor.states import RunType
from tests import crds

KINDS = [RunType.TRAINING, RunType.CERTIFICATION, RunType.EVALUATION, RunType.TESTING]
RUN_ID = "0c6f6e52-9b5a-4d0e-8f52-2f1c93a3b9d1"
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJqb2IifQ.c2ln"
SOME, MANY = Resources(1, 4 << 30, 0), Resources(8, 64 << 30, 2)
CPU = Placement(namespace="workloads", image="example.org/worker:1.2")
GPU = Placement(
    namespace="workloads",
    image="example.org/worker@sha256:" + "0" * 64,
    gpu_products=["NVIDIA-H100-80GB-HBM3"],
    priority_classes={"trainer": "elo-train", "referee": "elo-eval"},
    runtime_class="nvidia",
    queue="team-a",
    image_pull_secrets=["registry"],
    tls_secret="elodrome-workers-tls",
)


def a_launch(**fields: Any) -> Launch:
    values = {
        "name": f"{RUN_ID}-a1",
        "command": ["python", "-m", "trainer"],
        "environment": {"ELODROME_EXECUTOR_ADDRESS": "executor:50052"},
        "secrets": {"ELODROME_JOB_TOKEN": TOKEN},
        "run_id": RUN_ID,
        "owner_id": "5d3e6a0e-8f5c-4b55-8c5b-1d6f0b8ad7f2",
        "resources": SOME,
    }
    return Launch(**values | fields)


def pod(launch: Launch, placement: Placement = CPU) -> dict[str, Any]:
    return kube_job.job(launch, placement)["spec"]["template"]["spec"]


def variables(launch: Launch) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in pod(launch)["containers"][0]["env"]}


@pytest.mark.parametrize("version", crds.VERSIONS)
def test_every_kind_of_job_fits_the_strict_schema(version: str) -> None:
    for kind, placement, deadline_s, learners in product(KINDS, (CPU, GPU), (None, 90.4), (1, 2)):
        launch = a_launch(kind=kind, deadline_s=deadline_s, learners=learners)
        for resources in (Resources(), SOME, MANY):
            manifest = kube_job.job(replace(launch, resources=resources), placement)
            crds.validate(manifest, version)
    owner = {"metadata": {"name": f"elo-{RUN_ID}-a1", "uid": "uid"}}
    crds.validate(kube_owned.secret(a_launch(), CPU, owner), version)
    crds.validate(kube_owned.service(a_launch(learners=2), CPU, owner), version)


@pytest.mark.parametrize(
    ("kind", "role", "deadline_s", "ttl_s", "grace_s"),
    [
        (RunType.TRAINING, "trainer", None, 86400, 120),
        (RunType.CERTIFICATION, "trainer", None, 86400, 120),
        (RunType.EVALUATION, "referee", 7200, 3600, 30),
        (RunType.TESTING, "referee", 7200, 3600, 30),
    ],
)
def test_a_job_has_one_pod_and_the_limits_of_its_kind(
    kind: RunType, role: str, deadline_s: int | None, ttl_s: int, grace_s: int
) -> None:
    manifest = kube_job.job(a_launch(kind=kind), GPU)
    spec = manifest["spec"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (1, 1, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}
    assert spec.get("activeDeadlineSeconds") == deadline_s
    assert spec["ttlSecondsAfterFinished"] == ttl_s
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == grace_s
    assert spec["template"]["spec"]["priorityClassName"] == GPU.priority_classes[role]
    assert spec["template"]["metadata"]["labels"]["elo/role"] == role


@pytest.mark.parametrize("version", crds.VERSIONS)
def test_the_schema_would_find_a_misspelt_field(version: str) -> None:
    manifest = kube_job.job(a_launch(), CPU)
    manifest["spec"]["backofLimit"] = manifest["spec"].pop("backoffLimit")
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        crds.validate(manifest, version)


def test_a_worker_has_the_certificate_of_its_secret_as_files() -> None:
    found = pod(a_launch(), GPU)
    [volume] = [each for each in found["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "elodrome-workers-tls"
    assert {item["key"] for item in volume["secret"]["items"]} == set(TLS_FILES)
    [container] = found["containers"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "tls"]
    assert mount["readOnly"]
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert told["ELODROME_TLS_DIR"] == mount["mountPath"]
    assert "ELODROME_TLS_DIR" not in variables(a_launch())
    assert "tls" not in {each["name"] for each in pod(a_launch())["volumes"]}


def test_what_is_left_of_the_budget_and_ten_minutes_is_the_deadline() -> None:
    spec = kube_job.job(a_launch(kind=RunType.EVALUATION, deadline_s=90.4), CPU)["spec"]
    assert spec["activeDeadlineSeconds"] == 690
    overdrawn = kube_job.job(a_launch(deadline_s=-5.0), CPU)["spec"]
    assert overdrawn["activeDeadlineSeconds"] == 600


def test_learners_are_pods_of_one_job_that_know_each_other_by_name() -> None:
    launch = a_launch(learners=3)
    job, name = kube_job.job(launch, CPU), f"elo-{launch.name}"
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    # The whole gang starts anew with the next attempt, and never a part of it.
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["subdomain"] == name
    assert spec["template"]["metadata"]["labels"]["elo/together"] == "true"
    told = variables(launch)
    assert (told["WORLD_SIZE"], told["MASTER_PORT"]) == ("3", "29400")
    assert told["MASTER_ADDR"] == f"{name}-0.{name}.{CPU.namespace}.svc"
    owner = {"metadata": {"name": name, "uid": "uid"}}
    service = kube_owned.service(launch, CPU, owner)
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["metadata"]["ownerReferences"][0]["uid"] == "uid"


def test_one_learner_is_told_of_no_other() -> None:
    assert not variables(a_launch()).keys() & {"WORLD_SIZE", "RANK", "MASTER_ADDR"}
    assert "subdomain" not in pod(a_launch())


def test_gpus_are_for_trainers_alone() -> None:
    trainer = pod(a_launch(resources=MANY), GPU)
    assert trainer["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert trainer["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "NVIDIA-H100-80GB-HBM3" in json.dumps(trainer["affinity"])
    referee = a_launch(kind=RunType.EVALUATION, resources=MANY)
    for without in (pod(referee, GPU), pod(a_launch(), CPU)):
        assert "nvidia" not in json.dumps(without["containers"][0]["resources"])
        assert not {"affinity", "tolerations"} & set(without)


def test_only_a_queue_of_kueue_holds_a_job_back() -> None:
    queued, plain = kube_job.job(a_launch(), GPU), kube_job.job(a_launch(), CPU)
    assert queued["spec"]["suspend"]
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "elo-train"
    assert not plain["spec"]["suspend"]
    assert "kueue" not in json.dumps(plain)


def test_a_worker_has_no_rights_and_writes_to_volumes_of_a_limited_size() -> None:
    spec = pod(a_launch())
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"])
    assert "/dev/shm" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_a_token_is_in_the_secret_and_nowhere_else() -> None:
    launch = a_launch()
    assert TOKEN not in json.dumps(kube_job.job(launch, CPU))
    assert TOKEN not in repr(launch)
    owner = {"metadata": {"name": f"elo-{RUN_ID}-a1", "uid": "the uid"}}
    secret = kube_owned.secret(launch, CPU, owner)
    assert secret["stringData"] == {"ELODROME_JOB_TOKEN": TOKEN}
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "the uid"
    [reference] = [
        item["valueFrom"]["secretKeyRef"]
        for item in pod(launch)["containers"][0]["env"]
        if item["name"] == "ELODROME_JOB_TOKEN"
    ]
    assert reference == {"name": secret["metadata"]["name"], "key": "ELODROME_JOB_TOKEN"}


def test_the_spec_label_tells_two_specs_apart() -> None:
    first, again, other = (
        kube_job.job(launch, CPU)["metadata"]["labels"]["elo/spec"]
        for launch in (a_launch(), a_launch(), a_launch(command=["python", "-m", "referee"]))
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "A"}, "name"),
        ({"name": "../secrets/other"}, "name"),
        ({"name": "a" * 60}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": ""}, "name"),
        ({"owner_id": "somebody else"}, "label elo/owner"),
        ({"owner_id": "x" * 64}, "label elo/owner"),
        ({"run_id": "a,elo/role=agent"}, "label elo/run"),
        ({"run_id": "a\n"}, "label elo/run"),
        ({"environment": {"LD_PRELOAD\n": "x"}}, "environment variable"),
        ({"environment": {"A=B": "x"}}, "environment variable"),
        ({"environment": {"1ST": "x"}}, "environment variable"),
        ({"environment": {"": "x"}}, "environment variable"),
        ({"secrets": {"../token": "x"}}, "environment variable"),
        ({"environment": {"ELODROME_JOB_TOKEN": "x"}}, "ELODROME_JOB_TOKEN"),
        ({"environment": {"A": "x\0y"}}, "environment variable A"),
        ({"command": ["a\0b"]}, "command"),
        ({"kind": RunType.EXTERNAL}, "kind"),
    ],
)
def test_what_could_be_an_injection_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        kube_job.job(a_launch(**fields), CPU)


def test_the_kubelet_puts_no_values_into_values() -> None:
    launch = a_launch(environment={"A": "$(ELODROME_JOB_TOKEN) $x $$"}, command=["$(A)"])
    assert variables(launch)["A"] == "$$(ELODROME_JOB_TOKEN) $$x $$$$"
    assert pod(launch)["containers"][0]["command"] == ["$$(A)"]


def test_an_attempt_cannot_be_told_to_be_another_one() -> None:
    assert variables(a_launch(environment={"ELODROME_JOB": "other"}))["ELODROME_JOB"] == (
        f"{RUN_ID}-a1"
    )
