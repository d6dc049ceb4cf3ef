"""The Deployment controller: as many pods as asked for, replaced a few at a time."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

from tests.cluster.kubelet import condition

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.kubelet import Pod
    from tests.cluster.store import Object

_HASH = "pod-template-hash"


def sync(cluster: Cluster, deployment: Object) -> None:
    """Bring one Deployment a step on, as its strategy lets it."""
    wanted = deployment["spec"].get("replicas", 1)
    current = _replica_set(cluster, deployment)
    sets = [item for _, item in cluster.store.owned(deployment["metadata"]["uid"])]
    pods = {item["metadata"]["uid"]: _running(cluster, item) for item in sets}
    fresh = pods[current["metadata"]["uid"]]
    stale = [pod for uid, held in pods.items() if uid != current["metadata"]["uid"] for pod in held]
    surge, unavailable = _bounds(deployment, wanted)
    room = min(wanted - len(fresh), wanted + surge - len(fresh) - len(stale))
    for _ in range(room):
        _start_pod(cluster, current)
    for pod in fresh[wanted:]:
        pod.delete(None)
    ready = sum(pod.is_ready for pod in (*fresh, *stale))
    for pod in sorted(stale, key=lambda pod: pod.is_ready):
        if not pod.is_ready:
            pod.delete(None)
        elif ready > wanted - unavailable:
            ready -= 1
            pod.delete(None)
    for item in sets:
        _report_set(cluster, item, pods[item["metadata"]["uid"]])
    _report(cluster, deployment, fresh[:wanted], stale)


def _bounds(deployment: Object, wanted: int) -> tuple[int, int]:
    """Return how many pods there may be too many, and how many may be away."""
    strategy = deployment["spec"].get("strategy", {})
    if strategy.get("type") == "Recreate":
        return 0, wanted
    rolling = strategy.get("rollingUpdate", {})
    surge = _part(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    return surge, _part(rolling.get("maxUnavailable", "25%"), wanted, math.floor)


def _part(value: int | str, whole: int, rounded: object) -> int:
    if isinstance(value, int):
        return value
    return rounded(int(value.removesuffix("%")) / 100 * whole)  # type: ignore[operator]


def _running(cluster: Cluster, replica_set: Object) -> list[Pod]:
    return [
        pod
        for pod in cluster.pods_of(replica_set)
        if not pod.has_ended.is_set() and not pod.is_leaving
    ]


def _replica_set(cluster: Cluster, deployment: Object) -> Object:
    """Return the ReplicaSet of the template as it is now, made where it is new."""
    template, metadata = deployment["spec"]["template"], deployment["metadata"]
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    for _, item in cluster.store.owned(metadata["uid"]):
        if item["metadata"]["labels"][_HASH] == digest:
            return item
    labels = {**template["metadata"]["labels"], _HASH: digest}
    selected = {**deployment["spec"]["selector"]["matchLabels"], _HASH: digest}
    spec = {
        "replicas": deployment["spec"].get("replicas", 1),
        "selector": {"matchLabels": selected},
        "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
    }
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "controller": True}
    item = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner | {key: metadata[key] for key in ("name", "uid")}],
        },
        "spec": spec,
    }
    return cluster.store.create("replicasets", item)


def _start_pod(cluster: Cluster, replica_set: Object) -> None:
    template = replica_set["spec"]["template"]
    name = replica_set["metadata"]["name"]
    metadata = {**template["metadata"], "generateName": f"{name}-"}
    cluster.start_pod(replica_set, metadata, template["spec"])


def _report_set(cluster: Cluster, replica_set: Object, pods: list[Pod]) -> None:
    ready = sum(pod.is_ready for pod in pods)
    counts = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
    metadata = replica_set["metadata"]
    status = counts | {"observedGeneration": metadata["generation"]}

    def change(item: Object) -> None:
        item["status"] = status

    cluster.store.update("replicasets", metadata["name"], change, metadata["namespace"])


def _report(cluster: Cluster, deployment: Object, fresh: list[Pod], stale: list[Pod]) -> None:
    metadata, wanted = deployment["metadata"], deployment["spec"].get("replicas", 1)
    ready = sum(pod.is_ready for pod in fresh)
    is_done = not stale and ready == wanted
    counts = {
        "observedGeneration": metadata["generation"],
        "replicas": len(fresh) + len(stale),
        "updatedReplicas": len(fresh),
        "readyReplicas": ready + sum(pod.is_ready for pod in stale),
        "availableReplicas": ready + sum(pod.is_ready for pod in stale),
    }
    progress = "NewReplicaSetAvailable" if is_done else "ReplicaSetUpdated"

    def change(item: Object) -> None:
        held = {each["type"]: each for each in item.get("status", {}).get("conditions", ())}
        wanted_conditions = [
            condition("Progressing", progress),
            condition("Available", "MinimumReplicasAvailable", status=ready >= wanted),
        ]
        # A condition keeps the time of its last change.
        conditions = [
            held[each["type"]] if _is_same(held.get(each["type"]), each) else each
            for each in wanted_conditions
        ]
        item["status"] = counts | {"conditions": conditions}

    cluster.store.update("deployments", metadata["name"], change, metadata["namespace"])


def _is_same(held: Object | None, wanted: Object) -> bool:
    return held is not None and all(held[key] == wanted[key] for key in ("status", "reason"))
