"""What a Job and its pod say, as Kubernetes writes their status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.executor.drivers.driver import Fault, Observation, Phase
from services.executor.drivers.kube_job import CONTAINER, QUEUE_LABEL
from services.executor.drivers.kube_reading import (
    condition,
    has_begun,
    has_ended,
    is_finished,
    observation,
)


def a_job(*conditions: dict[str, str], suspend: bool = False, queue: str = "") -> dict[str, Any]:
    labels = {QUEUE_LABEL: queue} if queue else {}
    return {
        "metadata": {"labels": labels},
        "spec": {"suspend": suspend},
        "status": {"conditions": list(conditions)},
    }


def holds(kind: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def a_pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    statuses = [] if state is None else [{"name": CONTAINER, "state": state}]
    return {"status": {"containerStatuses": statuses, **status}}


def terminated(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def see(
    job: dict[str, Any] | None, pod: dict[str, Any] | None = None, *, is_pod_gone: bool = False
) -> Observation:
    return observation(job, pod, is_pod_gone=is_pod_gone)


@pytest.mark.parametrize(
    ("job", "pod", "phase"),
    [
        (None, None, Phase.ABSENT),
        (a_job(), None, Phase.WAITING),
        (a_job(), a_pod(), Phase.WAITING),
        (a_job(), a_pod(waiting("ContainerCreating")), Phase.WAITING),
        # The launch was cut off before its Secret.
        (a_job(), a_pod(waiting("CreateContainerConfigError")), Phase.ABSENT),
        # Somebody deleted the Job; its pod still runs.
        (None, a_pod({"running": {}}), Phase.RUNNING),
        # Held by us for good, or by a queue for a while.
        (a_job(suspend=True), None, Phase.EXITED),
        (a_job(suspend=True, queue="team-a"), None, Phase.WAITING),
    ],
)
def test_what_has_not_ended_waits_runs_or_is_absent(job: Any, pod: Any, phase: Phase) -> None:
    assert see(job, pod).phase is phase


def test_a_running_worker_says_since_when() -> None:
    seen = see(a_job(), a_pod({"running": {"startedAt": "2026-11-21T10:00:00Z"}}))
    assert seen == Observation(Phase.RUNNING, start_time=datetime(2026, 11, 21, 10, tzinfo=UTC))


@pytest.mark.parametrize("code", [0, 1, 64, 79, 137])
def test_an_exit_code_is_that_of_the_container(code: int) -> None:
    assert see(a_job(), a_pod(terminated(code))) == Observation(Phase.EXITED, code)


def test_a_container_that_was_killed_for_memory_has_that_fault() -> None:
    seen = see(a_job(), a_pod(terminated(137, "OOMKilled")))
    assert (seen.exit_code, seen.fault) == (137, Fault.OUT_OF_MEMORY)


def test_the_deadline_of_a_job_is_a_fault_with_and_without_its_pod() -> None:
    late = holds("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert see(a_job(late), a_pod(terminated(143))).fault is Fault.DEADLINE
    assert see(a_job(late)).fault is Fault.DEADLINE


def test_an_eviction_is_told_before_and_after_the_end_with_its_reason() -> None:
    lost = holds("DisruptionTarget", "PreemptionByScheduler", "for team b\n  run 7")
    for state in ({"running": {}}, terminated(143)):
        seen = see(a_job(), a_pod(state, conditions=[lost]))
        assert (seen.fault, seen.detail) == (
            Fault.EVICTED,
            "PreemptionByScheduler: for team b run 7",
        )
    pod = a_pod(phase="Failed", reason="Evicted", message="The node was low on memory")
    assert see(a_job(), pod).detail == "Evicted: The node was low on memory"


def test_a_pod_that_vanished_has_no_exit_code() -> None:
    gone = see(a_job(), a_pod({"running": {}}), is_pod_gone=True)
    assert gone == Observation(Phase.EXITED, None)


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_is_not_there_waits_with_a_fault(reason: str) -> None:
    seen = see(a_job(), a_pod(waiting(reason, 'pull "x:1"')))
    assert (seen.phase, seen.fault, seen.detail) == (
        Phase.WAITING,
        Fault.IMAGE_PULL,
        f'{reason}: pull "x:1"',
    )


def test_what_is_said_is_one_line_of_a_length_to_show() -> None:
    lost = holds("DisruptionTarget", "Evicted", "x" * 10_000)
    assert len(see(a_job(), a_pod(terminated(1), conditions=[lost])).detail) == 500


@pytest.mark.parametrize("kind", ["Complete", "Failed", "FailureTarget"])
def test_a_finished_job_starts_no_pod_any_more(kind: str) -> None:
    assert is_finished(a_job(holds(kind)))
    assert not is_finished(a_job({"type": kind, "status": "False"}))
    assert condition(a_job(), kind) is None


def test_output_begins_with_the_container_and_ends_with_it() -> None:
    assert not has_begun(a_pod(waiting("ContainerCreating")))
    assert has_begun(a_pod({"running": {}}))
    assert not has_ended(a_pod({"running": {}}))
    assert has_begun(a_pod(terminated(0)))
    assert has_ended(a_pod(terminated(0)))
    assert has_ended(a_pod(phase="Failed"))


@pytest.mark.parametrize("status", [{"conditions": [{"type": "Failed"}]}, {"conditions": [7]}])
def test_a_status_that_makes_no_sense_is_an_error_for_quarantine(status: Any) -> None:
    job = {**a_job(), "status": status}
    with pytest.raises((KeyError, TypeError)):
        see(job)
