"""What goes with the Job of an attempt, and is gone with it: Secret, Service, pods of agents.

An agent is code that nobody trusts, so its pod is given nothing: no token, no secret, no name of a
service, no DNS, no volume that anything else sees. The code comes from its referee, once that has
connected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.executor.drivers import kube_job, kube_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.executor.drivers.driver import Launch
    from services.executor.drivers.kube_job import Manifest, Placement

_AGENT_LABEL = "elo/agent-of"
_CPUS, _MEMORY = "1", "512Mi"
_WRITABLE = {"work": ("/work", "128Mi"), "tmp": ("/tmp", "64Mi")}  # noqa: S108 - the pod's own
"""Directories in memory, which counts as the agent's own; what is beyond their size is refused."""
_NOBODY = "127.0.0.1"
"""A name server that is not there: a pod whose policy is None has to name one."""


def secret(launch: Launch, placement: Placement, owner: Mapping[str, Any]) -> Manifest:
    """Return the Secret of an attempt; with its Job, `owner`, it is gone too."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _owned(launch, placement, owner),
        "type": "Opaque",
        "stringData": dict(launch.secrets),
    }


def service(launch: Launch, placement: Placement, owner: Mapping[str, Any]) -> Manifest:
    """Return the Service that gives learners or agents their names, before any of them is ready."""
    learners = {kube_job.NAME_LABEL: launch.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _owned(launch, placement, owner),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _agent_labels(launch) if launch.seats else learners,
        },
    }


def agents(launch: Launch, placement: Placement, owner: Mapping[str, Any]) -> list[Manifest]:
    """Return the pods of an attempt's agents, one for each seat; with the Job they are gone too.

    Raises ValueError naming the field and its rule.
    """
    return [_agent(launch, placement, owner, seat) for seat in range(launch.seats)]


def agent_name(name: str, seat: int) -> str:
    """Return what the pod of a seat of an attempt is called."""
    return f"{kube_job.job_name(name)}-agent-{seat}"


def _agent(launch: Launch, placement: Placement, owner: Mapping[str, Any], seat: int) -> Manifest:
    kind = kube_kinds.kind_of(launch)
    labels = {
        "app.kubernetes.io/name": "elodrome",
        "app.kubernetes.io/component": "agent",
        **_agent_labels(launch),
        "elo/seat": str(seat),
        kind.subject: launch.subject_id,
    }
    kube_job.check_labels(labels)
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "activeDeadlineSeconds": kube_kinds.deadline_s(launch),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostname": kube_job.agent_hostname(seat),
        "subdomain": kube_job.job_name(launch.name),
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [_NOBODY]},
        "securityContext": kube_job.POD_SECURITY,
        "containers": [_container(placement)],
        "volumes": [
            {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
            for name, (_, size) in _WRITABLE.items()
        ],
    }
    if priority := placement.priority_classes.get(kind.priority):
        spec["priorityClassName"] = priority
    if placement.match_runtime_class:
        spec["runtimeClassName"] = placement.match_runtime_class
    if placement.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in placement.image_pull_secrets]
    metadata = _owned(launch, placement, owner) | {"name": agent_name(launch.name, seat)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"labels": labels},
        "spec": spec,
    }


def _container(placement: Placement) -> Manifest:
    given = {"cpu": _CPUS, "memory": _MEMORY}
    environment = {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {
        "name": "agent",
        "image": placement.image,
        "command": [kube_job.literal(word, "agent_command") for word in placement.agent_command],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "workingDir": "/work",
        "ports": [{"containerPort": kube_job.AGENT_PORT}],
        "resources": {"requests": given, "limits": given},
        "securityContext": kube_job.CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": name, "mountPath": path} for name, (path, _) in _WRITABLE.items()
        ],
    }


def _agent_labels(launch: Launch) -> dict[str, str]:
    """Return what an attempt's agents have in common, and nobody else has.

    They are no workers: the labels by which the executor follows pods are not among theirs.
    """
    return {"elo/role": "agent", _AGENT_LABEL: launch.name}


def _owned(launch: Launch, placement: Placement, owner: Mapping[str, Any]) -> Manifest:
    """Return the metadata of an object that goes with the Job of its attempt."""
    reference = {key: owner["metadata"][key] for key in ("name", "uid")}
    return {
        "name": kube_job.job_name(launch.name),
        "namespace": placement.namespace,
        "labels": {kube_job.MANAGED_BY: kube_job.OWNER, kube_job.NAME_LABEL: launch.name},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", **reference}],
    }
