"""LeaseService: how a worker holds its job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from elodrome.executor.v1 import (
    lease_service_pb2,
    lease_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
)
from sqlalchemy import select

from kit import errors, parse
from kit.auth import principal
from services.executor import judge, lifecycle
from services.executor.drivers.driver import Fault
from services.executor.lifecycle import Ending
from services.executor.models import provenance
from services.executor.models.job import MAX_REASON_CHARACTERS, Job
from services.executor.models.messages import stamp
from services.executor.models.run import Run, lock_run
from services.executor.models.update import RunHead, next_epoch, record
from services.executor.servicers.views import show
from services.executor.states import JobOutcome, JobState, RunState, RunType

if TYPE_CHECKING:
    from datetime import datetime

    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context
    from services.executor.drivers.driver import Driver

    Call = grpc.aio.ServicerContext

_TOKEN_S = 3600.0
_MAX_COUNT = 1 << 53
_MAX_PHASE = 64
_ACTIONS = {
    None: lease_service_pb2.LEASE_ACTION_CONTINUE,
    RunState.STOPPED: lease_service_pb2.LEASE_ACTION_STOP,
    RunState.PAUSED: lease_service_pb2.LEASE_ACTION_PAUSE,
    RunState.CANCELLED: lease_service_pb2.LEASE_ACTION_CANCEL,
}
_REPORTABLE = {
    outcome.to_proto(): outcome
    for outcome in (
        JobOutcome.COMPLETED,
        JobOutcome.TARGET_REACHED,
        JobOutcome.PLATEAU,
        JobOutcome.DIVERGED,
        JobOutcome.USER_ERROR,
        JobOutcome.CRASH,
        JobOutcome.OUT_OF_MEMORY,
        JobOutcome.REQUESTED,
        JobOutcome.PLATFORM,
    )
}


class LeaseServicer(lease_service_pb2_grpc.LeaseServiceServicer):
    """Gives leases, keeps them alive and ends them."""

    def __init__(self, context: Context, driver: Driver) -> None:
        self._driver = driver
        self._sessions = context.sessions
        self._settings = context.settings
        self._signer = context.signer

    async def AcquireLease(
        self, request: lease_service_pb2.AcquireLeaseRequest, _call: Call
    ) -> lease_service_pb2.AcquireLeaseResponse:
        """Take the lease of a job with the next epoch."""
        caller = principal()
        if request.job_id and parse.uuid(request.job_id, "job_id") != caller.job_id:
            raise errors.permission_denied("the token is for another job", reason="WRONG_JOB")
        async with self._sessions.begin() as session:
            run, now = await lock_run(session, caller.run_id)
            job = await _own_job(session, run)
            job.epoch = await next_epoch(session, run.id)
            job.expire_time = self._expire_time(now)
            if job.state is JobState.STARTING:
                job.start_time = now
                await lifecycle.enter_job(session, run, job, JobState.RUNNING)
                await lifecycle.enter(session, run, RunState.RUNNING, now=now)
                run.begin_work(now)
            return lease_service_pb2.AcquireLeaseResponse(
                lease_token=self._token(run, job),
                epoch=job.epoch,
                expire_time=stamp(job.expire_time),
                heartbeat_interval_s=self._settings.heartbeat_s,
                run=await show(session, run),
                job=job.to_proto(),
                time_left_s=run.time_left_s(now),
            )

    async def Heartbeat(
        self, request: lease_service_pb2.HeartbeatRequest, _call: Call
    ) -> lease_service_pb2.HeartbeatResponse:
        """Keep the lease and take over the progress."""
        _check(request)
        async with self._sessions.begin() as session:
            run, now = await lock_run(session, principal().run_id)
            job = await _leased_job(session, run)
            job.expire_time = self._expire_time(now)
            await _take_over(session, run, job, request, now)
            return lease_service_pb2.HeartbeatResponse(
                lease_token=self._token(run, job),
                expire_time=stamp(job.expire_time),
                action=_ACTIONS[run.requested_state],
            )

    async def ReportProvenance(
        self, request: lease_service_pb2.ReportProvenanceRequest, _call: Call
    ) -> lease_service_pb2.ReportProvenanceResponse:
        """Keep what the worker was made of."""
        async with self._sessions.begin() as session:
            run, _now = await lock_run(session, principal().run_id)
            job = await _leased_job(session, run)
            await session.merge(provenance.told(job, request.provenance))
        return lease_service_pb2.ReportProvenanceResponse()

    async def ReportOutcome(
        self, request: lease_service_pb2.ReportOutcomeRequest, _call: Call
    ) -> lease_service_pb2.ReportOutcomeResponse:
        """End the job as its worker says."""
        outcome = _REPORTABLE.get(request.outcome)
        if outcome is None:
            names = ", ".join(_REPORTABLE.values())
            raise errors.invalid_argument("outcome", f"must be one of {names}")
        parse.integer(request.exit_code, "exit_code", minimum=0, maximum=255)
        _check(request.final)
        reason = request.reason[:MAX_REASON_CHARACTERS].replace("\0", "")
        ending = Ending(outcome, reason or f"the worker reported {outcome}", request.exit_code)
        # Before the run is locked, since the place may have to be asked over the network.
        by_place = await self._ending_by_place(ending)
        async with self._sessions.begin() as session:
            run, now = await lock_run(session, principal().run_id)
            if not await _has_reported(session, run):
                job = await _leased_job(session, run)
                _take_digest(run, outcome, request.replayed_sha256)
                await _take_over(session, run, job, request.final, now)
                job.is_reported = True
                if by_place is not None and run.requested_state is None:
                    ending = by_place
                await lifecycle.settle_job(session, run, job, ending, now=now)
            return lease_service_pb2.ReportOutcomeResponse(run=await show(session, run))

    async def _ending_by_place(self, ending: Ending) -> Ending | None:
        """Name the ending of a worker that its place told to end; None where nobody did but us."""
        if ending.outcome is not JobOutcome.REQUESTED:
            return None
        async with self._sessions() as session:
            run = await session.get(Run, principal().run_id)
            job = await session.get(Job, principal().job_id)
        if run is None or job is None or job.run_id != run.id or run.requested_state is not None:
            return None
        seen = await self._driver.inspect(job.name)
        if seen.fault is not Fault.EVICTED:
            return None
        return replace(judge.faulty(seen.fault, seen), exit_code=ending.exit_code)

    def _expire_time(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._settings.lease_expiry_s)

    def _token(self, run: Run, job: Job) -> str:
        return self._signer.worker(
            run_id=run.id,
            job_id=job.id,
            attempt=job.attempt,
            epoch=job.epoch,
            ttl_s=_TOKEN_S,
            user_id=run.owner_id,
        )


async def _own_job(session: AsyncSession, run: Run) -> Job:
    """Return the caller's job while it is at work and the run's latest attempt."""
    job = await session.get(Job, principal().job_id)
    if job is None or job.run_id != run.id:
        raise errors.not_found("job", principal().job_id)
    if not job.is_at_work or job.attempt != run.attempt:
        raise stale_epoch(run.id, principal().epoch)
    return job


async def _leased_job(session: AsyncSession, run: Run) -> Job:
    """Return the caller's job while the caller holds its latest lease."""
    job = await _own_job(session, run)
    query = select(RunHead.epoch).where(RunHead.run_id == run.id)
    if principal().epoch == 0 or principal().epoch != await session.scalar(query):
        raise stale_epoch(run.id, principal().epoch)
    return job


async def _has_reported(session: AsyncSession, run: Run) -> bool:
    job = await session.get(Job, principal().job_id)
    return (
        job is not None
        and job.run_id == run.id
        and job.is_reported
        and job.epoch == principal().epoch
    )


def stale_epoch(run_id: str, epoch: int) -> errors.RpcError:
    """Return the refusal that tells a worker that its lease is over."""
    return errors.failed_precondition(
        f"epoch {epoch} no longer holds the lease of run {run_id}",
        reason="STALE_EPOCH",
        run_id=run_id,
        epoch=epoch,
    )


def _check(request: lease_service_pb2.HeartbeatRequest) -> None:
    for field in ("current_iteration", "max_iterations", "step"):
        parse.integer(getattr(request, field), field, minimum=0, maximum=_MAX_COUNT)
    parse.number(request.cpu_s, "cpu_s", minimum=0, maximum=_MAX_COUNT)
    parse.text(request.phase, "phase", max_length=_MAX_PHASE, min_length=0)
    for field in ("checkpoint", "resumed_from"):
        if request.HasField(field):
            checkpoint = getattr(request, field)
            parse.uuid(checkpoint.checkpoint_id, f"{field}.checkpoint_id")
            parse.integer(checkpoint.iteration, f"{field}.iteration", minimum=0, maximum=_MAX_COUNT)
            parse.integer(checkpoint.step, f"{field}.step", minimum=0, maximum=_MAX_COUNT)


def _take_digest(run: Run, outcome: JobOutcome, sha256: str) -> None:
    """Take over what a replay came to; nothing else may say so."""
    is_done = outcome.job_state is JobState.SUCCEEDED
    if is_done and run.type is RunType.CERTIFICATION:
        run.replayed_sha256 = parse.sha256(sha256, "replayed_sha256")
    elif sha256:
        raise errors.invalid_argument("replayed_sha256", "must be empty but for a replay")


async def _take_over(
    session: AsyncSession,
    run: Run,
    job: Job,
    request: lease_service_pb2.HeartbeatRequest,
    now: datetime,
) -> None:
    """Take over what a worker says about its progress, and tell the watchers."""
    run.cpu_s += job.use_cpu(request.cpu_s)
    if request.HasField("resumed_from"):
        run.continue_from(request.resumed_from.iteration, request.resumed_from.step)
    if request.HasField("max_iterations"):
        run.max_iterations = request.max_iterations
    if request.HasField("phase"):
        run.phase = request.phase
    if request.HasField("current_iteration") or request.HasField("step"):
        iteration = run.current_iteration
        if request.HasField("current_iteration"):
            iteration = request.current_iteration
        step = request.step if request.HasField("step") else run.step
        run.advance(iteration=iteration, step=step, now=now)
        await session.flush()
        await lifecycle.announce_progress(session, run, now=now)
    if request.HasField("checkpoint"):
        await _keep_checkpoint(session, run, request.checkpoint)


async def _keep_checkpoint(
    session: AsyncSession, run: Run, checkpoint: run_pb2.CheckpointRef
) -> None:
    checkpoint_id = parse.uuid(checkpoint.checkpoint_id, "checkpoint.checkpoint_id")
    if run.keep_checkpoint(checkpoint_id, checkpoint.iteration, checkpoint.step):
        await session.flush()
        update = run_service_pb2.WatchRunResponse(checkpoint=checkpoint)
        await record(session, run.id, update)
