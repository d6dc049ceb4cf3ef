"""What to do about an attempt at work, given what the driver sees and what time it is."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from services.executor.drivers.driver import Fault, Phase
from services.executor.lifecycle import LIMITS, Ending
from services.executor.states import JobOutcome, JobState, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from services.executor.drivers.driver import Observation
    from services.executor.models.job import Job
    from services.executor.models.run import Run
    from services.executor.settings import ExecutorSettings


class Step(Enum):
    """The next thing to do about a job that goes on."""

    NONE = "none"
    RELAUNCH = "relaunch"
    TIME_LIMIT = "time limit"
    BUDGET = "budget"
    TERMINATE = "terminate"


@dataclass(frozen=True)
class Case:
    """One attempt at work, as the reconciler finds it."""

    run: Run
    job: Job
    seen: Observation
    now: datetime


_FIRST_SIGNAL = 128
_SIGNAL_NAMES = {_FIRST_SIGNAL + number: number.name for number in signal.Signals}
_BY_EXIT_CODE: dict[int | None, tuple[JobOutcome, str]] = {
    None: (JobOutcome.VANISHED, "the worker was killed with all its processes"),
    64: (JobOutcome.USER_ERROR, "the worker refused its config"),
    65: (JobOutcome.USER_ERROR, "the worker refused its input"),
    66: (JobOutcome.DIVERGED, "the training diverged"),
    69: (JobOutcome.PLATFORM, "the worker could not reach the platform"),
    75: (JobOutcome.PLATFORM, "the worker gave up for now"),
    79: (JobOutcome.FENCED, "the worker found that another one holds the lease"),
    _FIRST_SIGNAL + signal.SIGKILL: (JobOutcome.VANISHED, "the worker was killed"),
    _FIRST_SIGNAL + signal.SIGTERM: (JobOutcome.REQUESTED, "the worker was told to end"),
}
_BY_FAULT = {
    Fault.OUT_OF_MEMORY: (JobOutcome.OUT_OF_MEMORY, "the worker used more memory than it may"),
    Fault.DEADLINE: (JobOutcome.TIME_LIMIT, "the worker was ended at its deadline"),
    Fault.EVICTED: (JobOutcome.EVICTED, "the worker lost its place"),
    Fault.IMAGE_PULL: (JobOutcome.IMAGE_PULL, "the worker's image could not be fetched"),
}
_SELF_EXPLAINED = frozenset({JobOutcome.CRASH, JobOutcome.USER_ERROR})
_REFRESH_S = 300.0
"""Seconds after which a worker that still waits for its place is given a new token."""
_HARD_LIMIT_SHARE = 0.2
"""How much longer than its time limit a run may take to save and end, as a share of the limit."""
# What Python, torch and C++ say last when an allocation fails.
_OUT_OF_MEMORY = ("MemoryError", "can't allocate memory", "std::bad_alloc", "OutOfMemoryError")


def judge(case: Case, settings: ExecutorSettings) -> Ending | Step:
    """Say how the attempt has ended, or else the next step."""
    if case.seen.phase is Phase.EXITED:
        return ending_of(case)
    if case.seen.phase is Phase.ABSENT:
        if case.job.state is JobState.STARTING:
            return Step.RELAUNCH
        return Ending(JobOutcome.VANISHED, "the worker's process is gone without a trace")
    if case.seen.phase is Phase.WAITING and case.job.state is JobState.STARTING:
        return _waiting(case, settings)
    return _overdue(case, settings) or _next_step(case)


def ending_of(case: Case) -> Ending:
    """Read the ending out of an exit code and the worker's last words."""
    code, words = case.seen.exit_code, case.seen.last_words
    if case.seen.fault is not None:
        return faulty(case.seen.fault, case.seen)
    if code and any(sign in words for sign in _OUT_OF_MEMORY):
        return faulty(Fault.OUT_OF_MEMORY, case.seen)
    if code == 0:
        return _clean_exit(case)
    outcome, reason = _BY_EXIT_CODE.get(code, (JobOutcome.CRASH, "the worker failed"))
    if code in _SIGNAL_NAMES:
        reason = f"{reason} ({_SIGNAL_NAMES[code]})"
    elif code is not None:
        reason = f"{reason} (exit code {code})"
    said = f": {words}" if words and outcome in _SELF_EXPLAINED else ""
    return Ending(outcome, reason + said, code)


def faulty(fault: Fault, seen: Observation) -> Ending:
    """Name the ending of a worker by what its place says about it."""
    outcome, reason = _BY_FAULT[fault]
    return Ending(outcome, f"{reason}: {seen.detail}" if seen.detail else reason, seen.exit_code)


def _waiting(case: Case, settings: ExecutorSettings) -> Ending | Step:
    """Let a worker wait for its place as long as need be, but not for an image there is not."""
    late = _is_past(case.job.launch_time, settings.start_timeout_s, case.now)
    if late and case.seen.fault is Fault.IMAGE_PULL:
        return faulty(Fault.IMAGE_PULL, case.seen)
    if ending := _refusing_to_stop(case, settings):
        return ending
    step = _next_step(case)
    if step is Step.NONE and case.run.requested_state is None:
        return Step.RELAUNCH if _is_past(case.job.launch_time, _REFRESH_S, case.now) else step
    return step


def _clean_exit(case: Case) -> Ending:
    if case.job.state is JobState.STARTING:
        return Ending(JobOutcome.CRASH, "the worker ended before it took its lease", 0)
    if case.run.requested_state is not None:
        return Ending(JobOutcome.REQUESTED, "the worker ended as asked", 0)
    # Done or told to end while nobody listened: the next attempt finds out from the checkpoint.
    return Ending(JobOutcome.PLATFORM, "the worker ended without a report", 0)


def _overdue(case: Case, settings: ExecutorSettings) -> Ending | None:
    """Return the ending of a worker that did not do something in time."""
    late = _late(case, settings)
    if late is not None and case.seen.fault is not None:
        return faulty(case.seen.fault, case.seen)
    return late or _refusing_to_stop(case, settings)


def _late(case: Case, settings: ExecutorSettings) -> Ending | None:
    job, now = case.job, case.now
    if job.state is JobState.STARTING:
        if _is_past(case.seen.start_time or job.launch_time, settings.start_timeout_s, now):
            limit = f"{settings.start_timeout_s:g} s"
            return Ending(JobOutcome.LEASE_EXPIRED, f"the worker took no lease within {limit}")
    elif _is_past(job.expire_time, 0, now):
        limit = f"{settings.lease_expiry_s:g} s"
        return Ending(JobOutcome.LEASE_EXPIRED, f"the worker was silent for {limit}")
    return None


def _refusing_to_stop(case: Case, settings: ExecutorSettings) -> Ending | None:
    if case.run.requested_state is None or case.job.terminate_time is None:
        return None
    grace_s = _grace_s(case.run, settings)
    # A cancel that comes after a stop shortens the wait from the moment it was asked for.
    asked_time = max(case.job.terminate_time, case.run.requested_time or case.job.terminate_time)
    if not _is_past(asked_time, grace_s, case.now):
        return None
    reason = f"the worker did not end within {grace_s:g} s and was killed"
    return Ending(LIMITS.get(case.run.requested_reason, JobOutcome.REQUESTED), reason)


def hard_limit_s(run: Run, settings: ExecutorSettings) -> float:
    """Return how much longer than its time limit a run may take to save and end."""
    return max(settings.stop_grace_s, _HARD_LIMIT_SHARE * run.time_limit_s)


def _grace_s(run: Run, settings: ExecutorSettings) -> float:
    if run.requested_state is RunState.CANCELLED:
        return settings.cancel_grace_s
    if run.requested_reason == JobOutcome.TIME_LIMIT:
        return hard_limit_s(run, settings)
    return settings.stop_grace_s


def _next_step(case: Case) -> Step:
    if case.run.requested_state is not None:
        return Step.TERMINATE if case.job.terminate_time is None else Step.NONE
    left_s = case.run.time_left_s(case.now)
    if left_s is not None and left_s <= 0:
        return Step.TIME_LIMIT
    return Step.BUDGET if case.run.is_over_budget else Step.NONE


def _is_past(moment: datetime | None, seconds: float, now: datetime) -> bool:
    return moment is not None and now > moment + timedelta(seconds=seconds)
