"""The Job of an attempt, as a manifest: one pure function, which the schema tests look at too.

A Job has one pod and never a second one: the executor owns the attempts. Learners that learn
together are the pods of one Indexed Job, each of which is never replaced either. Nothing that a
user wrote gets into a manifest; the names and numbers that do are checked all the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kit.settings import TLS_FILES
from services.executor.drivers import kube_kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.executor.drivers.driver import Launch
    from services.executor.drivers.kube_kinds import Kind

Manifest = dict[str, Any]

CONTAINER = "worker"
NAME_LABEL = "elo/job"
MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "elodrome-executor"
SELECTOR = f"{MANAGED_BY}={OWNER}"
"""What the Jobs and pods of an executor have in common."""
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Which of the learners that learn together a pod is; Kubernetes sets it."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SEATS_LABEL = "elo/seats"
"""How many pods of agents belong to a Job; on no Job without any."""
AGENT_PORT = 7000
"""Where the pod of an agent waits for its referee."""
AGENT_COMMAND = ("python", "-m", "referee.sandbox.runner", "--listen", str(AGENT_PORT))

_USER_ID = 10001
POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": _USER_ID,
    "runAsGroup": _USER_ID,
    "fsGroup": _USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

_GPU = "nvidia.com/gpu"
_GPU_PRODUCT = "nvidia.com/gpu.product"
_OUR_EXIT_CODES = list(range(64, 80))
"""Exit codes with a meaning: 64 to 78 as in sysexits.h, 79 for a worker that was fenced."""
_WORK_BYTES = 8 << 30
_TMP_BYTES = 1 << 30
_SHARED_MEMORY_BYTES = 1 << 30

# Where learners meet; then each listens on a port that it tells the others.
_MEETING_PORT = 29400

_TLS_DIRECTORY = "/run/secrets/tls"

# With `elo-` before it and the index of a pod behind it, it is still a host's name.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,53}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Placement:
    """Where the workers of an install run.

    `priority_classes` is by what a pod is for: `trainer`, `referee`, `match` or `build`. `queue` is
    a LocalQueue of Kueue; empty leaves Kueue out. `gpu_products` are values of the label
    nvidia.com/gpu.product, empty for any. `tls_secret` is what workers show to services that speak
    TLS; empty where those do not. `match_runtime_class` is for the pods of agents, which run
    `agent_command`; empty runs them as the cluster runs everything.
    """

    namespace: str
    image: str
    gpu_products: Sequence[str] = ()
    priority_classes: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str = ""
    queue: str = ""
    image_pull_secrets: Sequence[str] = ()
    tls_secret: str = ""
    match_runtime_class: str = ""
    agent_command: Sequence[str] = AGENT_COMMAND


def job_name(name: str) -> str:
    """Return what the Job of an attempt is called; raise ValueError for what cannot be a name."""
    _check(_NAME, name, "name", "1 to 55 lower-case letters, digits and inner hyphens")
    return f"elo-{name}"


def job(launch: Launch, placement: Placement) -> Manifest:
    """Return the Job of an attempt; raise ValueError naming the field and its rule."""
    kind = kube_kinds.kind_of(launch)
    is_queued = bool(placement.queue) and not kind.subject
    template = {
        "spec": _pod_spec(launch, placement, kind),
    }
    spec: Manifest = {
        "parallelism": launch.learners,
        "completions": launch.learners,
        "completionMode": "Indexed" if launch.learners > 1 else "NonIndexed",
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": _failure_rules(kind)},
        "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": kind.ttl_s,
        # Kueue starts the Jobs in its queues by itself.
        "suspend": is_queued,
        "template": template,
    }
    deadline_s = kube_kinds.deadline_s(launch)
    if deadline_s is not None:
        spec["activeDeadlineSeconds"] = deadline_s
    labels = _labels(launch, kind, _digest(spec))
    template["metadata"] = {"labels": labels}
    queueing = _queue_labels(placement, kind) if is_queued else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(launch.name),
            "namespace": placement.namespace,
            "labels": labels | queueing,
        },
        "spec": spec,
    }


def agent_hostname(seat: int) -> str:
    """Return what the pod of a seat is called below its attempt's name."""
    return f"agent-{seat}"


def _agents(launch: Launch, placement: Placement) -> dict[str, str]:
    """Return what tells the referee of a match where its agents are, in the order of the seats."""
    if not launch.subject_id:
        return {}
    domain = f"{job_name(launch.name)}.{placement.namespace}.svc:{AGENT_PORT}"
    hosts = [f"{agent_hostname(seat)}.{domain}" for seat in range(launch.seats)]
    return {"ELODROME_AGENTS": ",".join(hosts)}


def _failure_rules(kind: Kind) -> list[Manifest]:
    """End the Job with its pod, whatever ended it, and have the Job say what it was."""
    lost_place = {"type": "DisruptionTarget", "status": "True"}
    codes = (
        {"operator": "NotIn", "values": [0]}
        if kind.subject
        else {"operator": "In", "values": _OUR_EXIT_CODES}
    )
    return [
        {"action": "FailJob", "onPodConditions": [lost_place]},
        {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, **codes}},
    ]


def _labels(launch: Launch, kind: Kind, digest: str) -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": "elodrome",
        "app.kubernetes.io/component": kind.role,
        MANAGED_BY: OWNER,
        NAME_LABEL: launch.name,
        "elo/role": kind.role,
        "elo/run": launch.run_id,
        "elo/attempt": str(launch.attempt),
        "elo/kind": launch.kind.lower(),
        "elo/owner": launch.owner_id,
        "elo/spec": digest,
    }
    if kind.subject:
        labels[kind.subject] = launch.subject_id
    if launch.learners > 1:
        labels["elo/together"] = "true"
    if launch.seats:
        labels[SEATS_LABEL] = str(launch.seats)
    check_labels(labels)
    return labels


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise ValueError naming the first label whose value cannot be one."""
    for name, value in labels.items():
        _check(_LABEL_VALUE, value, f"label {name}", "at most 63 letters, digits, - _ and .")


def _queue_labels(placement: Placement, kind: Kind) -> dict[str, str]:
    labels = {QUEUE_LABEL: placement.queue}
    if priority := placement.priority_classes.get(kind.priority):
        labels["kueue.x-k8s.io/priority-class"] = priority
    return labels


def _digest(spec: Manifest) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def _pod_spec(launch: Launch, placement: Placement, kind: Kind) -> Manifest:
    gpus = launch.resources.gpus if kind.may_use_gpu else 0
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": kind.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [_container(launch, placement, gpus)],
        "volumes": _volumes(launch.resources.memory_bytes, placement),
    }
    if launch.learners > 1:
        spec["subdomain"] = job_name(launch.name)
    if priority := placement.priority_classes.get(kind.priority):
        spec["priorityClassName"] = priority
    if placement.runtime_class:
        spec["runtimeClassName"] = placement.runtime_class
    if placement.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in placement.image_pull_secrets]
    if gpus:
        spec["tolerations"] = [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]
    if gpus and placement.gpu_products:
        spec["affinity"] = {"nodeAffinity": _on_products(placement.gpu_products)}
    return spec


def _on_products(products: Iterable[str]) -> Manifest:
    wanted = {"key": _GPU_PRODUCT, "operator": "In", "values": list(products)}
    terms = [{"matchExpressions": [wanted]}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _container(launch: Launch, placement: Placement, gpus: int) -> Manifest:
    given = launch.resources
    requests: dict[str, str] = {"cpu": f"{given.cpus:g}"} if given.cpus else {}
    limits: dict[str, str] = {}
    if given.memory_bytes:
        requests["memory"] = limits["memory"] = str(given.memory_bytes)
    if gpus:
        limits[_GPU] = str(gpus)
    return {
        "name": CONTAINER,
        "image": placement.image,
        "command": [literal(word, "command") for word in launch.command],
        "env": _environment(launch, placement) + _meeting(launch, placement),
        "workingDir": "/work",
        "resources": {"requests": requests, "limits": limits},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a directory of the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *_tls_mounts(placement),
        ],
    }


def _tls_mounts(placement: Placement) -> list[Manifest]:
    if not placement.tls_secret:
        return []
    return [{"name": "tls", "mountPath": _TLS_DIRECTORY, "readOnly": True}]


def _volumes(memory_bytes: int, placement: Placement) -> list[Manifest]:
    # What is written to memory counts as the worker's own.
    shared = memory_bytes // 2 or _SHARED_MEMORY_BYTES
    volumes: list[Manifest] = [
        {"name": "work", "emptyDir": {"sizeLimit": str(_WORK_BYTES)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": str(_TMP_BYTES)}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(shared)}},
    ]
    if placement.tls_secret:
        items = [{"key": name, "path": name} for name in TLS_FILES]
        source = {"secretName": placement.tls_secret, "defaultMode": 0o440, "items": items}
        volumes.append({"name": "tls", "secret": source})
    return volumes


def _environment(launch: Launch, placement: Placement) -> list[Manifest]:
    plain = {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        "ELODROME_WORK_DIR": "/work",
        **({"ELODROME_TLS_DIR": _TLS_DIRECTORY} if placement.tls_secret else {}),
        **launch.environment,
        "ELODROME_JOB": launch.name,
        **_agents(launch, placement),
    }
    for name in (*plain, *launch.secrets):
        rule = "letters, digits and underscores, no digit first"
        _check(_VARIABLE, name, "environment variable", rule)
    if both := plain.keys() & launch.secrets.keys():
        raise ValueError(f"environment variable {min(both)}: is a secret and no secret at once")
    shown = [
        {"name": name, "value": literal(value, f"environment variable {name}")}
        for name, value in plain.items()
    ]
    reference = job_name(launch.name)
    hidden = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": reference, "key": name}}}
        for name in launch.secrets
    ]
    return shown + hidden


def _meeting(launch: Launch, placement: Placement) -> list[Manifest]:
    """Return what torchrun would tell learners: who each is, and where the first one waits."""
    if launch.learners == 1:
        return []
    name = job_name(launch.name)
    told = {
        "WORLD_SIZE": str(launch.learners),
        "MASTER_ADDR": f"{name}-0.{name}.{placement.namespace}.svc",
        "MASTER_PORT": str(_MEETING_PORT),
    }
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_LABEL}']"}}
    return [{"name": name, "value": value} for name, value in told.items()] + [
        {"name": "RANK", "valueFrom": rank}
    ]


def literal(text: str, field_name: str) -> str:
    """Return text that the kubelet leaves as it is, where it would put values for $(NAME)."""
    if "\0" in text:
        raise ValueError(f"{field_name}: holds a NUL byte")
    return text.replace("$", "$$")


def _check(pattern: re.Pattern[str], text: str, field_name: str, rule: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"{field_name}: {text[:80]!r} must be {rule}")
