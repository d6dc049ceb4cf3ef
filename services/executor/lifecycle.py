"""How runs and jobs move: what an RPC or the reconciler does to them, under the run's row lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from elodrome.executor.v1 import events_pb2, run_service_pb2
from sqlalchemy import select

from kit import errors, outbox, trace
from services.executor import gauges, shares, wakeups
from services.executor.models.certificate import difference, state_of
from services.executor.models.job import Job
from services.executor.models.messages import stamp
from services.executor.models.update import next_epoch, record
from services.executor.states import (
    JOB_MACHINE,
    RUN_MACHINE,
    SETTLED,
    JobOutcome,
    JobState,
    RunState,
    RunType,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.executor.models.run import Run

REQUESTED = "REQUESTED"
LIMITS = {outcome.value: outcome for outcome in (JobOutcome.TIME_LIMIT, JobOutcome.BUDGET)}
"""The reasons for which the executor itself asks a run to stop, and how an attempt ends by them."""

_MAX_BACKOFF_S = 3600.0
_PLATFORM_BACKOFF_S = 5.0
_PLACE = frozenset({JobOutcome.PLATFORM, JobOutcome.EVICTED})
_FINAL = frozenset({JobOutcome.USER_ERROR, JobOutcome.DIVERGED})
# Those are no fault of the worker: it was told by somebody else to stop.
_UNCOUNTED = frozenset({JobOutcome.REQUESTED, JobOutcome.EVICTED})
_LOST = frozenset({JobOutcome.LEASE_EXPIRED, JobOutcome.VANISHED, JobOutcome.FENCED})
# A later request may only ask for more.
_URGENCY = {RunState.PAUSED: 1, RunState.STOPPED: 2, RunState.CANCELLED: 3}


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    outcome: JobOutcome
    reason: str
    exit_code: int | None = None


async def enter(
    session: AsyncSession,
    run: Run,
    state: RunState,
    *,
    now: datetime,
    reason: str = "",
    error: str = "",
) -> None:
    """Move a run, tell the watchers and the other services.

    Raises FAILED_PRECONDITION, naming both states, when there is no such move.
    """
    RUN_MACHINE.check(run.state, state)
    previous, run.state = run.state, state
    run.reason = reason
    run.last_error = error or run.last_error
    run.end_time = now if state in SETTLED else None
    if state is not RunState.RUNNING:
        run.requested_state, run.requested_reason, run.requested_time = None, "", None
        run.end_work(now)
    await announce(session, run, now=now)
    _emit(session, run, previous)


async def begin(session: AsyncSession, run: Run, *, now: datetime) -> None:
    """Tell the watchers and the other services of a run that was just created."""
    await announce(session, run, now=now)
    _emit(session, run, None)


def _emit(session: AsyncSession, run: Run, previous: RunState | None) -> None:
    changed = events_pb2.RunStateChanged(
        run_id=run.id,
        type=run.type.to_proto(),
        previous_state=previous.to_proto() if previous else None,
        state=run.state.to_proto(),
        reason=run.reason,
        last_error=run.last_error,
        owner_id=run.owner_id,
        request_id=run.request_id or "",
    )
    outbox.emit(session, changed, about=run.id, origin=run.traceparent)


async def announce(session: AsyncSession, run: Run, *, now: datetime) -> None:
    """Tell the watchers of a run where it stands."""
    requested = run.requested_state
    state = run_service_pb2.StateUpdate(
        state=run.state.to_proto(),
        requested_state=requested.to_proto() if requested else None,
        attempt=run.attempt,
        reason=run.reason or run.requested_reason,
        last_error=run.last_error,
        time=stamp(now),
    )
    await session.flush()
    await record(session, run.id, run_service_pb2.WatchRunResponse(state=state))


async def announce_progress(session: AsyncSession, run: Run, *, now: datetime) -> None:
    """Tell the watchers of a run how far it is."""
    progress = run.progress(now)
    await record(session, run.id, run_service_pb2.WatchRunResponse(progress=progress))


async def queue(session: AsyncSession, run: Run, *, now: datetime, delay_s: float = 0.0) -> Job:
    """Decide on the next attempt; the reconciler launches it when its time and a slot come."""
    run.attempt += 1
    job = Job(run_id=run.id, attempt=run.attempt, state=JobState.PENDING)
    if delay_s > 0:
        job.not_before_time = now + timedelta(seconds=delay_s)
    session.add(job)
    await session.flush()
    _emit_job(session, run, job, None)
    wakeups.after_commit(session, wakeups.RECONCILER)
    return job


async def requeue(session: AsyncSession, run: Run, *, now: datetime) -> None:
    """Put a paused, failed or stopped run in the queue again, with fresh retries."""
    if run.state is not RunState.PAUSED:
        run.limit_from_s = run.elapsed_s
        run.cpu_limit_from_s = run.cpu_s
    run.failure_count = 0
    run.queue_time = now
    run.traceparent = trace.current.get()
    await enter(session, run, RunState.PENDING, now=now)
    await queue(session, run, now=now)


async def enter_job(session: AsyncSession, run: Run, job: Job, state: JobState) -> None:
    """Move a job that does not end by it, and tell the other services."""
    JOB_MACHINE.check(job.state, state)
    previous, job.state = job.state, state
    _emit_job(session, run, job, previous)


def _emit_job(session: AsyncSession, run: Run, job: Job, previous: JobState | None) -> None:
    changed = events_pb2.JobStateChanged(
        run_id=run.id,
        job_id=job.id,
        attempt=job.attempt,
        previous_state=previous.to_proto() if previous else None,
        state=job.state.to_proto(),
        outcome=job.outcome.to_proto() if job.outcome else None,
        reason=job.reason,
        type=run.type.to_proto(),
        request_id=run.request_id or "",
    )
    outbox.emit(session, changed, about=run.id, origin=run.traceparent)


async def active_job(session: AsyncSession, run: Run) -> Job | None:
    """Return the attempt that has not ended; None when there is none."""
    query = select(Job).where(Job.run_id == run.id, Job.attempt == run.attempt)
    job = (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()
    return job if job is not None and job.is_active else None


async def request(
    session: AsyncSession,
    run: Run,
    state: RunState,
    *,
    now: datetime,
    reason: str = REQUESTED,
) -> None:
    """Bring a run to STOPPED, PAUSED or CANCELLED: at once, or by asking its worker first.

    Raises FAILED_PRECONDITION, naming both states, when there is no such move.
    """
    RUN_MACHINE.check(run.state, state)
    job = await active_job(session, run)
    if job is not None and job.is_at_work:
        await _ask(session, run, state, now=now, reason=reason)
        return
    if job is not None:
        await _end_job(session, run, job, Ending(JobOutcome.REQUESTED, "not started"), now=now)
        job.is_reaped = True
    await enter(session, run, state, now=now, reason=reason)


async def _ask(
    session: AsyncSession, run: Run, state: RunState, *, now: datetime, reason: str
) -> None:
    asked = run.requested_state
    if asked is state:
        return
    if asked is not None and _URGENCY[asked] > _URGENCY[state]:
        raise errors.failed_precondition(
            f"a run that is about to be {asked} cannot become {state}",
            reason="ILLEGAL_TRANSITION",
            current=asked,
            requested=state,
        )
    run.requested_state, run.requested_reason, run.requested_time = state, reason, now
    await announce(session, run, now=now)
    wakeups.after_commit(session, wakeups.RECONCILER)


async def settle_job(
    session: AsyncSession, run: Run, job: Job, ending: Ending, *, now: datetime
) -> None:
    """End an attempt, and decide what becomes of the run: done, next attempt, or failed."""
    wanted, wanted_reason = run.requested_state, run.requested_reason
    if wanted_reason in LIMITS and ending.outcome is JobOutcome.REQUESTED:
        ending = Ending(LIMITS[wanted_reason], ending.reason, ending.exit_code)
    await _end_job(session, run, job, ending, now=now)
    if job.state is JobState.SUCCEEDED:
        await _complete(session, run, ending.outcome, now=now)
    elif wanted is None and ending.outcome in LIMITS.values():
        # A place that ended the worker at its deadline while no executor was there to ask for it.
        reason, error = ending.outcome, ending.reason
        await enter(session, run, RunState.STOPPED, now=now, reason=reason, error=error)
    elif wanted is not None:
        error = "" if job.state is JobState.STOPPED else ending.reason
        await enter(session, run, wanted, now=now, reason=wanted_reason, error=error)
    else:
        await _retry_or_fail(session, run, ending, now=now)


async def _complete(session: AsyncSession, run: Run, outcome: JobOutcome, *, now: datetime) -> None:
    """Settle a run whose worker is done; the reason is empty where it did all that was planned."""
    reason, error = "" if outcome is JobOutcome.COMPLETED else outcome, ""
    if run.type is RunType.CERTIFICATION:
        reason, error = state_of(run), difference(run)
    await enter(session, run, RunState.COMPLETED, now=now, reason=reason, error=error)


async def _end_job(
    session: AsyncSession, run: Run, job: Job, ending: Ending, *, now: datetime
) -> None:
    JOB_MACHINE.check(job.state, ending.outcome.job_state)
    previous = job.state
    await shares.settle(session, run, job, now=now)
    job.end(ending.outcome, ending.reason, exit_code=ending.exit_code, now=now)
    # Whoever held the lease may still be alive: nothing it writes counts from here on.
    await next_epoch(session, run.id)
    _emit_job(session, run, job, previous)
    gauges.count_end(session, ending.outcome)
    wakeups.after_commit(session, wakeups.RECONCILER)


async def _retry_or_fail(session: AsyncSession, run: Run, ending: Ending, *, now: datetime) -> None:
    outcome = ending.outcome
    run.failure_count += outcome not in _UNCOUNTED
    if outcome in _FINAL or run.failure_count > run.max_retries:
        error = f"attempt {run.attempt}: {ending.reason}"
        await enter(session, run, RunState.FAILED, now=now, reason=outcome, error=error)
        return
    error = f"attempt {run.attempt} was interrupted: {ending.reason}"
    await enter(session, run, RunState.INTERRUPTED, now=now, reason=outcome, error=error)
    await queue(session, run, now=now, delay_s=_backoff_s(run, outcome))


def _backoff_s(run: Run, outcome: JobOutcome) -> float:
    if outcome in _LOST or outcome is JobOutcome.REQUESTED:
        return 0.0
    backoff_s = min(_MAX_BACKOFF_S, run.retry_backoff_s * 2 ** (run.failure_count - 1))
    return min(_PLATFORM_BACKOFF_S, backoff_s) if outcome in _PLACE else backoff_s


async def hear_external(session: AsyncSession, run: Run, *, now: datetime, expiry_s: float) -> None:
    """Note that the script behind an EXTERNAL run is alive; an interrupted one goes on.

    Raises FAILED_PRECONDITION when the run has settled or has a worker of its own.
    """
    if run.type is not RunType.EXTERNAL:
        raise errors.failed_precondition(
            "the run has a worker of its own", reason="NOT_EXTERNAL", id=run.id
        )
    run.silent_after_time = now + timedelta(seconds=expiry_s)
    if run.state is not RunState.RUNNING:
        await enter(session, run, RunState.RUNNING, now=now)
        run.begin_work(now)
