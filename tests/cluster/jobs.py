"""The Job controller: pods of Jobs, and when a Job is over and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.cluster.kubelet import COMPLETION_INDEX, Pod, condition
from tests.cluster.store import Object, now

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

_OVER = {"Complete", "Failed"}


def sync(cluster: Cluster, job: Object) -> None:
    """Bring one Job a step on."""
    spec, status = job["spec"], job.get("status", {})
    pods = cluster.pods_of(job)
    conditions = {item["type"] for item in status.get("conditions", ())}
    if conditions & _OVER:
        _expire(cluster, job)
        return
    active = [pod for pod in pods if not pod.has_ended.is_set()]
    if spec.get("suspend"):
        for pod in active:
            pod.delete(None)
        _note_suspended(cluster, job, active, {"Suspended"} - conditions)
        return
    _begin(cluster, job)
    if "FailureTarget" in conditions:
        [why] = [item for item in status["conditions"] if item["type"] == "FailureTarget"]
        _end_early(cluster, job, active, why["reason"], why["message"])
    elif _is_late(job, pods):
        _end_early(cluster, job, active, "DeadlineExceeded", "Job was active longer than specified")
    elif (verdict := _verdict(job, pods)) is not None:
        kind, reason, message = verdict
        if kind == "Failed" and active:
            _end_early(cluster, job, active, reason, message)
        else:
            _finish(cluster, job, kind, reason, message)
    elif not cluster.holds_pods:
        for index in _missing(job, pods):
            _start_pod(cluster, job, index)


def _missing(job: Object, pods: list[Pod]) -> list[str]:
    """Return the indexes that have no pod at work or done; empty text where there are none."""
    if job["spec"].get("completionMode") != "Indexed":
        return [] if any(not pod.has_ended.is_set() for pod in pods) else [""]
    held = {pod.index for pod in pods if not pod.has_ended.is_set() or pod.exit_code == 0}
    return [str(n) for n in range(job["spec"]["completions"]) if str(n) not in held]


def _begin(cluster: Cluster, job: Object) -> None:
    _change(cluster, job, lambda item: item.setdefault("status", {}).setdefault("startTime", now()))


def _is_late(job: Object, pods: list[Pod]) -> bool:
    limit_s = job["spec"].get("activeDeadlineSeconds")
    started = [pod.start_s for pod in pods]
    return limit_s is not None and bool(started) and time.monotonic() > min(started) + limit_s


def _end_early(cluster: Cluster, job: Object, active: list[Pod], reason: str, message: str) -> None:
    """Have the pods end that are at work, and then the Job."""
    _finish(cluster, job, "FailureTarget", reason, message)
    for pod in active:
        pod.delete(None)
    if not active:
        _finish(cluster, job, "Failed", reason, message)


def _start_pod(cluster: Cluster, job: Object, index: str) -> None:
    template, name = job["spec"]["template"], job["metadata"]["name"]
    annotations = {**template["metadata"].get("annotations", {})}
    labels = {**template["metadata"]["labels"], "job-name": name}
    spec = template["spec"]
    if index:
        annotations[COMPLETION_INDEX] = labels[COMPLETION_INDEX] = index
        variable = {"name": "JOB_COMPLETION_INDEX", "value": index}
        [container] = spec["containers"]
        containers = [{**container, "env": [variable, *container.get("env", ())]}]
        spec = {**spec, "hostname": f"{name}-{index}", "containers": containers}
    metadata = {
        "generateName": f"{name}-",
        "labels": labels,
        "annotations": annotations,
    }
    cluster.start_pod(job, metadata, spec)


def _note_suspended(cluster: Cluster, job: Object, active: list[Pod], missing: set[str]) -> None:
    def change(item: Object) -> None:
        status = item.setdefault("status", {})
        status["active"] = len(active)
        status.pop("startTime", None)
        conditions = status.setdefault("conditions", [])
        conditions.extend(condition(kind, "JobSuspended") for kind in missing)

    _change(cluster, job, change)


def _finish(cluster: Cluster, job: Object, kind: str, reason: str, message: str) -> None:
    def change(item: Object) -> None:
        conditions = item.setdefault("status", {}).setdefault("conditions", [])
        if all(held["type"] != kind for held in conditions):
            conditions.append(condition(kind, reason, message))

    _change(cluster, job, change)


def _change(cluster: Cluster, job: Object, change: object) -> None:
    metadata = job["metadata"]
    cluster.store.update("jobs", metadata["name"], change, metadata["namespace"])  # type: ignore[arg-type]


def _expire(cluster: Cluster, job: Object) -> None:
    """Delete a Job that has been finished for its time to live; 0 is at once."""
    if job["spec"].get("ttlSecondsAfterFinished") == 0:
        cluster.delete("jobs", job["metadata"]["name"], {}, job["metadata"]["namespace"])


def _verdict(job: Object, pods: list[Pod]) -> tuple[str, str, str] | None:
    """Return the condition with which a Job is over, its reason and message."""
    ended = [pod for pod in pods if pod.has_ended.is_set()]
    failed = [pod for pod in ended if pod.exit_code != 0]
    succeeded = len({pod.index or pod.name for pod in ended if pod.exit_code == 0})
    if succeeded >= job["spec"].get("completions", 1):
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    for pod in failed:
        if why := _policy(job, pod):
            return "Failed", "PodFailurePolicy", why
    if len(failed) > job["spec"].get("backoffLimit", 6):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _fits(wanted: Object | None, exit_code: int | None) -> bool:
    """Say whether a rule is about an exit code; none is about success, or about a lost pod."""
    if wanted is None or not exit_code:
        return False
    return (exit_code in wanted["values"]) == (wanted["operator"] == "In")


def _policy(job: Object, pod: Pod) -> str:
    """Return why the failure policy ends a Job with this pod; empty where it does not."""
    for index, rule in enumerate(job["spec"].get("podFailurePolicy", {}).get("rules", ())):
        wanted = {item["type"] for item in rule.get("onPodConditions", ())}
        held = wanted & {item["type"] for item in pod.conditions}
        is_meant = _fits(rule.get("onExitCodes"), pod.exit_code)
        if rule["action"] == "FailJob" and (held or is_meant):
            what = (
                f"has condition {min(held)}" if held else f"failed with exit code {pod.exit_code}"
            )
            return f"Pod {pod.name} {what} matching FailJob rule at index {index}"
    return ""
