"""What the status of a Job and of its pod says about a worker; pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.executor.drivers.driver import Fault, Observation, Phase
from services.executor.drivers.kube_job import CONTAINER, QUEUE_LABEL, SEATS_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.executor.drivers.kube_job import Manifest

_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_SECRET_MISSING = "CreateContainerConfigError"  # noqa: S105 - a reason, not a password
_ENDED_PHASES = frozenset({"Succeeded", "Failed"})
_EVICTIONS = frozenset({"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated"})


def observation(job: Manifest | None, pod: Manifest | None, *, is_pod_gone: bool) -> Observation:
    """Return what is known of a worker from its Job and the last that was heard of its pod.

    Raises KeyError, TypeError, ValueError or AttributeError for objects that make no sense.
    """
    if pod is not None and (is_pod_gone or has_ended(pod)):
        return _ended(job, pod)
    if job is None:
        return Observation(Phase.ABSENT if pod is None else Phase.RUNNING)
    if pod is not None:
        return _alive(pod)
    failed = condition(job, "Failed")
    if failed is not None:
        is_late = failed.get("reason") == "DeadlineExceeded"
        fault, detail = _disruption_of_job(failed)
        return Observation(Phase.EXITED, None, Fault.DEADLINE if is_late else fault, detail)
    if condition(job, "Complete") is not None:
        return Observation(Phase.EXITED, 0)
    return Observation(Phase.EXITED if _is_held_for_good(job) else Phase.WAITING)


def has_ended(pod: Manifest) -> bool:
    """Say whether the worker's container, or the pod as a whole, has ended."""
    return pod.get("status", {}).get("phase") in _ENDED_PHASES or "terminated" in _state(pod)


def has_begun(pod: Manifest) -> bool:
    """Say whether there is output to read."""
    return not _state(pod).keys().isdisjoint({"running", "terminated"})


def is_finished(job: Manifest) -> bool:
    """Say whether the Job starts no pod any more, whatever happens."""
    return any(condition(job, kind) for kind in ("Complete", "Failed", "FailureTarget"))


def is_suspended(job: Manifest) -> bool:
    """Say whether the Job was told to start no pod."""
    return bool(job["spec"].get("suspend"))


def is_queued(job: Manifest) -> bool:
    """Say whether the Job waits in a queue of Kueue, which starts it and starts it again."""
    return QUEUE_LABEL in (job["metadata"].get("labels") or {})


def seats(job: Manifest) -> int:
    """Return how many pods of agents belong to the Job."""
    text = (job["metadata"].get("labels") or {}).get(SEATS_LABEL, "")
    return int(text) if text.isdecimal() else 0


def condition(item: Manifest, kind: str) -> Mapping[str, Any] | None:
    """Return a condition that holds."""
    for found in item.get("status", {}).get("conditions") or ():
        if found["type"] == kind and found["status"] == "True":
            return found
    return None


def _is_held_for_good(job: Manifest) -> bool:
    """Say whether it was held back by the executor; Kueue holds those back that queue."""
    return is_suspended(job) and not is_queued(job)


def _state(pod: Manifest) -> Mapping[str, Any]:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status["name"] == CONTAINER:
            return status.get("state") or {}
    return {}


def _alive(pod: Manifest) -> Observation:
    state = _state(pod)
    fault, detail = _disruption(pod)
    if running := state.get("running"):
        started = running.get("startedAt")
        start_time = datetime.fromisoformat(started) if started else None
        return Observation(Phase.RUNNING, None, fault, detail, start_time=start_time)
    waiting = state.get("waiting") or {}
    if waiting.get("reason") == _SECRET_MISSING:
        # The launch was cut off between the Job and its Secret: it has to be done again.
        return Observation(Phase.ABSENT)
    if waiting.get("reason") in _PULL_REASONS:
        return Observation(Phase.WAITING, None, Fault.IMAGE_PULL, _said(waiting))
    return Observation(Phase.WAITING, None, fault, detail)


def _ended(job: Manifest | None, pod: Manifest) -> Observation:
    terminated = _state(pod).get("terminated") or {}
    code = terminated.get("exitCode")
    exit_code = None if code is None else int(code)
    if terminated.get("reason") == "OOMKilled":
        return Observation(Phase.EXITED, exit_code, Fault.OUT_OF_MEMORY)
    failed = condition(job, "Failed") or condition(job, "FailureTarget") if job else None
    if failed is not None and failed.get("reason") == "DeadlineExceeded":
        return Observation(Phase.EXITED, exit_code, Fault.DEADLINE, _said(failed))
    return Observation(Phase.EXITED, exit_code, *_disruption(pod))


def _disruption(pod: Manifest) -> tuple[Fault | None, str]:
    found = condition(pod, "DisruptionTarget")
    if found is None and pod.get("status", {}).get("reason") in _EVICTIONS:
        found = pod["status"]
    return (None, "") if found is None else (Fault.EVICTED, _said(found))


def _disruption_of_job(failed: Mapping[str, Any]) -> tuple[Fault | None, str]:
    is_disrupted = "DisruptionTarget" in failed.get("message", "")
    return Fault.EVICTED if is_disrupted else None, _said(failed)


def _said(found: Mapping[str, Any]) -> str:
    """Return a reason and its message, as one line of a length that can be shown."""
    words = [str(found.get("reason", "")), str(found.get("message", ""))]
    return " ".join(": ".join(word for word in words if word).split())[:500]
