"""A cluster of one node whose containers are processes of this machine.

Jobs get pods, pods get a process, and what happens to the process gets into the status, as the
Job controller and the kubelet would have it. An image stands for this very environment: the
process inherits PATH and PYTHONPATH, and the path of a mounted volume is replaced by a directory of
the pod's own, as `workingDir` and as the value of a variable. Faults are methods.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.cluster.api_server import ApiServer
from tests.cluster.kubelet import Pod, condition
from tests.cluster.store import Object, StatusError, Store, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_S = 0.03


class Cluster:
    """Starts with nothing in it; `stop` ends every process."""

    def __init__(self, directory: Path, *, namespace: str = "workloads") -> None:
        self.namespace = namespace
        self.store = Store()
        self.broken_images: set[str] = set()
        self.holds_pods = False
        self.api = ApiServer(self.store, self.delete, self._log)
        self._directory = directory
        self._pods: dict[str, Pod] = {}
        self._stopped = threading.Event()
        threading.Thread(target=self._control, name="job controller", daemon=True).start()

    def kubeconfig(self) -> Path:
        """Write and return the file that leads the official client here."""
        path = self._directory / "kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "{apiVersion: v1, kind: Config, current-context: here,"
            f" clusters: [{{name: here, cluster: {{server: '{self.api.url}'}}}}],"
            " contexts: [{name: here, context: {cluster: here, user: me}}],"
            " users: [{name: me, user: {}}]}"
        )
        return path

    def stop(self) -> None:
        self._stopped.set()
        self.api.stop()
        for pod in list(self._pods.values()):
            pod.kill()

    def pod_of(self, job: str) -> Pod:
        """Return the newest pod of a Job, whether or not it has ended."""
        found = [pod for pod in list(self._pods.values()) if pod.job == job]
        if not found:
            raise StatusError(404, "NotFound", f"no pod of {job}")
        return found[-1]

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

    def delete(self, resource: str, name: str, options: Object) -> None:
        """Do what DELETE means for a resource."""
        if resource == "pods":
            if (pod := self._pods.get(name)) is not None:
                pod.delete(options.get("gracePeriodSeconds"))
            return
        uid = self.store.get(resource, name)["metadata"]["uid"]
        self.store.remove(resource, name)
        for kind in ("pods", "secrets"):
            for item in self.store.list(kind):
                owners = item["metadata"].get("ownerReferences") or ()
                if any(owner["uid"] == uid for owner in owners):
                    self.delete(kind, item["metadata"]["name"], {})

    def _log(self, name: str, follow: bool) -> Iterator[bytes]:
        self.store.get("pods", name)
        pod = self._pods[name]
        if pod.is_lost:
            raise StatusError(500, "InternalError", "the node does not answer")
        return pod.log(follow=follow)

    def _control(self) -> None:
        while not self._stopped.is_set():
            for job in self.store.list("jobs"):
                try:
                    self._sync(job)
                except StatusError:
                    continue  # deleted meanwhile
            self._stopped.wait(_POLL_S)

    def _sync(self, job: Object) -> None:
        """Bring one Job a step on, as the Job controller would."""
        name, spec, status = job["metadata"]["name"], job["spec"], job.get("status", {})
        pods = [pod for pod in self._pods.values() if pod.uid == job["metadata"]["uid"]]
        conditions = {item["type"] for item in status.get("conditions", ())}
        if conditions & {"Complete", "Failed"}:
            self._expire(job)
            return
        active = [pod for pod in pods if not pod.has_ended.is_set()]
        if spec.get("suspend"):
            for pod in active:
                pod.delete(None)
            self._note(name, active, {"Suspended"} - conditions, "JobSuspended")
            return
        self._begin(name)
        if "FailureTarget" in conditions or self._is_late(job, pods):
            self._end_late(name, active)
        elif (verdict := _verdict(job, pods)) is not None:
            self._finish(name, *verdict)
        elif not active and not self.holds_pods:
            self._start_pod(job)

    def _begin(self, name: str) -> None:
        def change(item: Object) -> None:
            item.setdefault("status", {}).setdefault("startTime", now())

        self.store.update("jobs", name, change)

    def _end_late(self, name: str, active: list[Pod]) -> None:
        verdict = ("DeadlineExceeded", "Job was active longer than specified deadline")
        self._finish(name, "FailureTarget", *verdict)
        for pod in active:
            pod.delete(None)
        if not active:
            self._finish(name, "Failed", *verdict)

    def _is_late(self, job: Object, pods: list[Pod]) -> bool:
        limit_s = job["spec"].get("activeDeadlineSeconds")
        started = [pod.start_s for pod in pods]
        return limit_s is not None and bool(started) and time.monotonic() > min(started) + limit_s

    def _start_pod(self, job: Object) -> None:
        template = job["spec"]["template"]
        metadata = {
            "generateName": f"{job['metadata']['name']}-",
            "namespace": self.namespace,
            "labels": {**template["metadata"]["labels"], "job-name": job["metadata"]["name"]},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
                | {key: job["metadata"][key] for key in ("name", "uid")}
            ],
        }
        item = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        status = {"phase": "Pending"}
        item = self.store.create("pods", item | {"spec": template["spec"], "status": status})
        self._pods[item["metadata"]["name"]] = Pod(self, item, self._directory)

    def _note(self, name: str, active: list[Pod], missing: set[str], reason: str) -> None:
        def change(item: Object) -> None:
            status = item.setdefault("status", {})
            status["active"] = len(active)
            status.pop("startTime", None)
            status.setdefault("conditions", []).extend(condition(kind, reason) for kind in missing)

        self.store.update("jobs", name, change)

    def _finish(self, name: str, kind: str, reason: str, message: str) -> None:
        def change(item: Object) -> None:
            conditions = item.setdefault("status", {}).setdefault("conditions", [])
            if all(held["type"] != kind for held in conditions):
                conditions.append(condition(kind, reason, message))

        self.store.update("jobs", name, change)

    def _expire(self, job: Object) -> None:
        """Delete a Job that has been finished for its time to live; 0 is at once."""
        if job["spec"].get("ttlSecondsAfterFinished") == 0:
            self.delete("jobs", job["metadata"]["name"], {})


def _verdict(job: Object, pods: list[Pod]) -> tuple[str, str, str] | None:
    """Return the condition with which a Job is over, its reason and message."""
    ended = [pod for pod in pods if pod.has_ended.is_set()]
    failed = [pod for pod in ended if pod.exit_code != 0]
    if len(failed) < len(ended):
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    for pod in failed:
        if why := _policy(job, pod):
            return "Failed", "PodFailurePolicy", why
    if len(failed) > job["spec"]["backoffLimit"]:
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _policy(job: Object, pod: Pod) -> str:
    """Return why the failure policy ends a Job with this pod; empty where it does not."""
    for index, rule in enumerate(job["spec"].get("podFailurePolicy", {}).get("rules", ())):
        wanted = {item["type"] for item in rule.get("onPodConditions", ())}
        held = wanted & {item["type"] for item in pod.conditions}
        codes = rule.get("onExitCodes", {}).get("values", ())
        if rule["action"] == "FailJob" and (held or pod.exit_code in codes):
            what = (
                f"has condition {min(held)}" if held else f"failed with exit code {pod.exit_code}"
            )
            return f"Pod {pod.name} {what} matching FailJob rule at index {index}"
    return ""
