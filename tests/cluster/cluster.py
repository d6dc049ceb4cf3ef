"""A cluster of one node whose containers are processes of this machine.

Deployments and Jobs get pods, pods get a process each, and what happens to the process gets into
the status, as the controllers and the kubelet would have it. Every pod has an address of its own
in 127.0.0.0/8, so that it listens on the ports it would have elsewhere. Faults are methods.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from typing import TYPE_CHECKING

from tests.cluster import deployments, jobs
from tests.cluster.api_server import ApiServer
from tests.cluster.dns import Names
from tests.cluster.kubelet import Pod
from tests.cluster.store import Object, StatusError, Store, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STOP_S = 30
_PERIOD_S = 0.03
_RESYNC_S = 0.3


class Cluster:
    """Starts with nothing in it; `stop` ends every process."""

    def __init__(self, directory: Path, *, namespace: str = "workloads") -> None:
        self.namespace = namespace
        self.store = Store()
        self.names = Names(self.store)
        self.broken_images: set[str] = set()
        self.holds_pods = False
        self.api = ApiServer(self.store, self.delete, self._log)
        self._directory = directory
        self._pods: dict[str, Pod] = {}
        # Clusters of tests that run side by side keep out of each other's addresses.
        self._addresses = itertools.count(random.randrange(1 << 16, 1 << 24))
        self._stopped = threading.Event()
        threading.Thread(target=self._control, name="controllers", daemon=True).start()

    def kubeconfig(self, namespace: str = "", account: str = "") -> Path:
        """Write and return the file that leads a client here: the administrator, or an account."""
        path = self._directory / f"kubeconfig-{namespace}-{account}"
        path.parent.mkdir(parents=True, exist_ok=True)
        user = f"token: '{self.api.access.token_of(namespace, account)}'" if account else ""
        path.write_text(
            "{apiVersion: v1, kind: Config, current-context: here,"
            f" clusters: [{{name: here, cluster: {{server: '{self.api.url}'}}}}],"
            " contexts: [{name: here, context: {cluster: here, user: me}}],"
            f" users: [{{name: me, user: {{{user}}}}}]}}"
        )
        return path

    def stop(self) -> None:
        """End every pod for good, and return once nothing writes to their directories."""
        self._stopped.set()
        self.api.stop()
        pods = list(self._pods.values())
        for pod in pods:
            pod.delete(0)
        for pod in pods:
            # A node that is lost does not tell; its process was killed when it was.
            assert pod.has_ended.wait(_STOP_S), f"{pod.name} does not end"

    def new_address(self) -> str:
        """Return an address of this machine that nothing else listens on."""
        number = next(self._addresses)
        return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def pod(self, name: str) -> Pod:
        """Return a pod by its name."""
        return self._pods[name]

    def running(self) -> list[Pod]:
        """Return the pods whose containers run."""
        pods = list(self._pods.values())
        return [pod for pod in pods if pod.process is not None and not pod.has_ended.is_set()]

    def pods_of(self, owner: Object) -> list[Pod]:
        """Return the pods that a Job or ReplicaSet controls, oldest first, also ended ones."""
        uid = owner["metadata"]["uid"]
        return [pod for pod in list(self._pods.values()) if pod.uid == uid]

    def pod_of(self, job: str) -> Pod:
        """Return the newest pod of a Job, whether or not it has ended."""
        found = [pod for pod in list(self._pods.values()) if pod.owner == job]
        if not found:
            raise StatusError(404, "NotFound", f"no pod of {job}")
        return found[-1]

    def start_pod(self, owner: Object, metadata: Object, spec: Object) -> None:
        """Create a pod of a Job or ReplicaSet; it starts by itself."""
        reference = {"controller": True, "apiVersion": owner["apiVersion"], "kind": owner["kind"]}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        place = {"namespace": owner["metadata"]["namespace"], "ownerReferences": [reference]}
        item = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, **place}}
        item = self.store.create("pods", {**item, "spec": spec})
        self._run_pod(item)

    def evict(self, job: str, reason: str, message: str) -> None:
        """Take the place away from a pod, with its grace."""
        pod = self.pod_of(job)
        pod.disrupt(reason, message)
        pod.delete(None)

    def lose_node(self, job: str) -> None:
        """Let the node of a pod vanish: nobody tells the API server how the process ends."""
        pod = self.pod_of(job)
        pod.is_lost = True
        pod.disrupt("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        pod.change(lambda item: item["metadata"].update(deletionTimestamp=now()))
        pod.kill()

    def run_out_of_memory(self, job: str) -> None:
        """Let the kernel kill the container of a pod."""
        self.pod_of(job).kill_for_memory()

    def delete(
        self, resource: str, name: str, options: Object, namespace: str | None = None
    ) -> None:
        """Do what DELETE means for a resource; what it owns goes with it."""
        if resource == "pods":
            if (pod := self._pods.get(name)) is not None and pod.is_known():
                pod.delete(options.get("gracePeriodSeconds"))
            else:
                self.store.remove(resource, name, namespace)
            return
        with self.store.lock:
            uid = self.store.get(resource, name, namespace)["metadata"]["uid"]
            self.store.remove(resource, name, namespace)
            for kind, item in self.store.owned(uid):
                self.delete(kind, item["metadata"]["name"], {}, item["metadata"]["namespace"])

    def _run_pod(self, item: Object) -> None:
        metadata = item["metadata"]
        status = {"phase": "Pending", "podIP": self.new_address(), "conditions": []}
        item = self.store.update(
            "pods", metadata["name"], lambda pod: pod.update(status=status), metadata["namespace"]
        )
        self._pods[metadata["name"]] = Pod(self, item, self._directory)

    def _log(self, name: str, follow: bool) -> Iterator[bytes]:
        self.store.get("pods", name)
        pod = self._pods[name]
        if pod.is_lost:
            raise StatusError(500, "InternalError", "the node does not answer")
        return pod.log(follow=follow)

    def _control(self) -> None:
        seen: tuple[int, int] = (0, 0)
        looked_s = 0.0
        while not self._stopped.wait(_PERIOD_S):
            ended = sum(pod.has_ended.is_set() for pod in list(self._pods.values()))
            now_s, current = time.monotonic(), (self.store.version, ended)
            # Deadlines come without a change.
            if current == seen and now_s < looked_s + _RESYNC_S:
                continue
            seen, looked_s = current, now_s
            for resource, sync in (("jobs", jobs.sync), ("deployments", deployments.sync)):
                for item in self.store.list(resource):
                    metadata = item["metadata"]
                    # Nothing may be made for an owner that is deleted meanwhile: it would stay.
                    with self.store.lock, contextlib.suppress(StatusError):
                        self.store.get(resource, metadata["name"], metadata["namespace"])
                        sync(self, item)
            for pod in self.store.list("pods"):
                # One that no controller made; it may be deleted meanwhile.
                with self.store.lock, contextlib.suppress(StatusError):
                    if "status" not in pod:
                        self._run_pod(pod)
