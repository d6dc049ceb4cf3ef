"""An API server in a process of its own, for `bench.k8s`: it checks nothing and runs no pod.

Prints its URL, then obeys lines of its standard input: `jobs` answers how many there are and when
the last one came, `storm RATE SECONDS` has watchers of pods hear that many events a second.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.cluster.api_server import ApiServer
from tests.cluster.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

_PODS = 1000
_TICK_S = 0.01


def main() -> None:
    store = Store(is_strict=False)
    api = ApiServer(store, lambda kind, name, _, where: store.remove(kind, name, where), _no_log)
    _say(api.url)
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "jobs":
            jobs = store.list("jobs")
            _say(json.dumps({"count": len(jobs), "time": time.time()}))
        elif order == "storm":
            _say(str(_storm(store, int(rest[0]), float(rest[1]))))


def _no_log(_name: str, _follow: bool) -> Iterator[bytes]:  # noqa: FBT001 - as the cluster has it
    return iter(())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _storm(store: Store, per_s: int, seconds: float) -> int:
    """Have the pods of a thousand workers change, evenly; return how many events there were."""
    began, sent = time.monotonic(), 0
    pods = [_pod(number) for number in range(_PODS)]
    waiting = threading.Event()
    while (elapsed := time.monotonic() - began) < seconds:
        with store.lock:
            while sent < elapsed * per_s:
                store.version += 1
                pod = pods[sent % _PODS]
                metadata = {**pod["metadata"], "resourceVersion": str(store.version)}
                store.tell("pods", "MODIFIED", {**pod, "metadata": metadata})
                sent += 1
        waiting.wait(_TICK_S)
    return sent


def _pod(number: int) -> dict[str, Any]:
    """Return a pod of the size that a kubelet's reports have, about 3 kB."""
    name = f"00000000-0000-4000-8000-{number:012d}-a1"
    labels = {"app.kubernetes.io/managed-by": "elodrome-executor", "elo/job": name}
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    status = {"name": "worker", "image": "example.org/worker:1", "state": state, "ready": True}
    condition = {
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "message": "x" * 64,
    }
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"elo-{name}", "namespace": "workloads", "labels": labels},
        "spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "x" * 1500}]}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": kind, **condition} for kind in kinds],
            "containerStatuses": [status],
        },
    }


if __name__ == "__main__":
    main()
