"""Brings what runs in line with what the database says, again and again.

It acts on what it finds, never on what it remembers: every step may be repeated after kill -9.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import func, select, update

from kit import failpoint, trace
from kit.db import problem, server_now
from kit.gauges import Pace
from services.executor import gauges, judge, lifecycle, run_config, slots, wakeups
from services.executor.drivers.driver import Launch
from services.executor.judge import Case, Step
from services.executor.lifecycle import Ending
from services.executor.models.job import Job
from services.executor.models.run import Run, lock_run
from services.executor.states import (
    JobOutcome,
    JobState,
    RunState,
    RunType,
)
from services.executor.turns import CHUNK, in_turns

if TYPE_CHECKING:
    from datetime import datetime

    from kit.auth import Signer
    from kit.db import Sessions
    from services.executor.drivers.driver import Driver, Observation
    from services.executor.log_tails import LogTails
    from services.executor.settings import ExecutorSettings

_POLL_S = 1.0
_LAUNCHES = 16
"""Workers that are started at the same time."""
_LAUNCHING_S = 5.0
"""Seconds after which a pass gives away no more slots."""
_EXIT_GRACE_S = 10.0
_BOOTSTRAP_TOKEN_S = 900.0
_PEERS = ("executor", "registry", "evaluator")
_LIMITS = {Step.TIME_LIMIT: JobOutcome.TIME_LIMIT, Step.BUDGET: JobOutcome.BUDGET}

logger = structlog.get_logger("executor.reconciler")


class Reconciler:
    """The loop that launches, observes, stops and reaps the workers of every run."""

    def __init__(
        self,
        *,
        settings: ExecutorSettings,
        sessions: Sessions,
        signer: Signer,
        driver: Driver,
        tails: LogTails,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._signer = signer
        self._driver = driver
        self._tails = tails
        self._turns = asyncio.Semaphore(_LAUNCHES)
        self._pace = Pace(gauges.RECONCILER, _POLL_S)

    async def run(self) -> None:
        """Reconcile until cancelled: when woken, and every second."""
        await self._forgive_own_absence()
        with wakeups.listening(wakeups.RECONCILER) as listener:
            clock = asyncio.get_running_loop().time
            while True:
                began = clock()
                await self.step()
                self._pace.passed()
                # However often it is woken, it leaves half of the time to others.
                await asyncio.sleep(min(clock() - began, _POLL_S))
                await wakeups.wait(listener, self._pace.interval_s)

    async def _forgive_own_absence(self) -> None:
        """Give every worker a full lease: nobody could hear their heartbeats until now."""
        expiry = timedelta(seconds=self._settings.lease_expiry_s)
        async with self._sessions.begin() as session:
            now = server_now()
            await session.execute(
                update(Job)
                .where(Job.state == JobState.RUNNING)
                .values(expire_time=func.greatest(Job.expire_time, now + expiry))
            )
            await session.execute(
                update(Job).where(Job.state == JobState.STARTING).values(launch_time=now)
            )

    async def step(self) -> None:
        """Look at everything once."""
        found = await self._unreaped_jobs()
        self._tails.follow(job for job, _, _ in found)
        seen = await self._driver.observe([job.name for job, _, _ in found])
        async for job, run, now in in_turns(found):
            # Each of them goes on with the trace of its run.
            with trace.within(""):
                await self._look_after(Case(run, job, seen[job.name], now))
        await self._launch_next()
        await self._interrupt_silent_scripts()

    async def _unreaped_jobs(self) -> list[tuple[Job, Run, datetime]]:
        """Return every job that may need something, with its run and the time of the look."""
        query = (
            select(Job, Run, func.clock_timestamp())
            .join(Run, Run.id == Job.run_id)
            .where(~Job.is_reaped, Job.state != JobState.PENDING)
        )
        found: list[tuple[Job, Run, datetime]] = []
        async with self._sessions.begin() as session:
            rows = await session.stream(query)
            async for part in rows.partitions(CHUNK):
                found += [(job, run, now) for job, run, now in part]
        return found

    async def _look_after(self, case: Case) -> None:
        job = case.job
        try:
            if not job.is_at_work:
                await self._reap(job)
            elif judge.judge(case, self._settings) is not Step.NONE:
                await self._supervise(job, case.seen)
        except Exception as error:
            # One job in trouble must not keep the others from being looked after; a database in
            # trouble concerns them all.
            if problem(error) is not None:
                raise
            logger.exception("job_not_reconciled", job_id=job.id, run_id=job.run_id)

    async def _supervise(self, job: Job, seen: Observation) -> None:
        """Do what is due, judged anew under the run's lock."""
        async with self._sessions.begin() as session:
            run, now = await lock_run(session, job.run_id)
            current = await session.get(Job, job.id, populate_existing=True)
            if current is None or not current.is_at_work:
                return
            trace.adopt(run.traceparent)
            verdict = judge.judge(Case(run, current, seen, now), self._settings)
            if isinstance(verdict, Ending):
                logger.info("job_ended", job=job.name, outcome=verdict.outcome, why=verdict.reason)
                await lifecycle.settle_job(session, run, current, verdict, now=now)
            elif verdict is Step.TERMINATE:
                current.terminate_time = now
            elif verdict is Step.RELAUNCH:
                current.launch_time = now
            elif verdict in _LIMITS:
                limit = _LIMITS[verdict]
                await lifecycle.request(session, run, RunState.STOPPED, now=now, reason=limit)
        if verdict is Step.TERMINATE:
            await self._driver.terminate(job.name)
        elif verdict is Step.RELAUNCH:
            await self._start(job, run)

    async def _reap(self, job: Job) -> None:
        """Remove what an ended attempt left behind; one that reported may end by itself first."""
        if job.is_reported and await self._is_ending(job):
            return
        if await self._driver.reap(job.name):
            await self._tails.finish(job)
            await self._driver.discard(job.name)

    async def _is_ending(self, job: Job) -> bool:
        seen = await self._driver.observe([job.name])
        if seen[job.name].phase is not judge.Phase.RUNNING:
            return False
        async with self._sessions() as session:
            grace = timedelta(seconds=_EXIT_GRACE_S)
            query = select(Job.end_time + grace > server_now()).where(Job.id == job.id)
            return bool(await session.scalar(query))

    async def _launch_next(self) -> None:
        """Give free slots to the jobs whose turn it is, and start them while others get theirs.

        However many there are, and however slow their place is, workers are looked after again
        before long.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + _LAUNCHING_S
        starting: list[asyncio.Task[None]] = []
        try:
            async with aclosing(slots.take(self._sessions, self._settings)) as turns:
                async for taken in turns:
                    await asyncio.gather(*starting)
                    starting = [asyncio.create_task(self._start_new(*each)) for each in taken]
                    if clock() > until:
                        wakeups.wake(wakeups.RECONCILER)
                        break
        finally:
            await asyncio.gather(*starting)

    async def _start_new(self, job: Job, run: Run) -> None:
        async with self._turns:
            failpoint.hit("executor.before_launch")
            await self._start(job, run)
            failpoint.hit("executor.after_launch")

    async def _start(self, job: Job, run: Run) -> None:
        with trace.within(run.traceparent), trace.begin("launch", "internal", run.traceparent):
            logger.info("job_launched", job=job.name, run_id=run.id)
            await self._launch(job, run)

    async def _launch(self, job: Job, run: Run) -> None:
        try:
            await self._driver.launch(self._launch_of(job, run))
        except OSError as error:
            reason = f"the worker could not be started: {error.strerror}"
            async with self._sessions.begin() as session:
                locked, now = await lock_run(session, run.id)
                current = await lifecycle.active_job(session, locked)
                if current is not None and current.id == job.id:
                    ending = Ending(JobOutcome.PLATFORM, reason)
                    await lifecycle.settle_job(session, locked, current, ending, now=now)

    def _launch_of(self, job: Job, run: Run) -> Launch:
        settings = self._settings
        is_training = run.type in (RunType.TRAINING, RunType.CERTIFICATION)
        token = self._signer.worker(
            run_id=run.id,
            job_id=job.id,
            attempt=job.attempt,
            epoch=0,
            ttl_s=_BOOTSTRAP_TOKEN_S,
            user_id=run.owner_id,
        )
        seats, subject_id = run_config.sandboxes(run.type, run.config)
        peers = {f"ELODROME_{peer.upper()}_ADDRESS": settings.address_of(peer) for peer in _PEERS}
        return Launch(
            name=job.name,
            command=settings.trainer_command if is_training else settings.referee_command,
            environment={
                **settings.worker_environment,
                **peers,
                "TRACEPARENT": trace.current.get(),
            },
            secrets={"ELODROME_JOB_TOKEN": token},
            kind=run.type,
            run_id=run.id,
            attempt=job.attempt,
            owner_id=run.owner_id,
            deadline_s=self._deadline_s(job, run),
            learners=run.worker_count,
            seats=seats,
            subject_id=subject_id,
            resources=slots.given(run, settings),
        )

    def _deadline_s(self, job: Job, run: Run) -> float | None:
        """Return after how long the worker may be ended by its place; the executor comes first."""
        left_s = run.time_left_s(job.launch_time) if job.launch_time else None
        return None if left_s is None else left_s + judge.hard_limit_s(run, self._settings)

    async def _interrupt_silent_scripts(self) -> None:
        """Mark EXTERNAL runs as interrupted whose script has not been heard of."""
        silent = select(Run.id).where(
            Run.type == RunType.EXTERNAL,
            Run.state == RunState.RUNNING,
            Run.silent_after_time < server_now(),
        )
        async with self._sessions() as session:
            run_ids = list(await session.scalars(silent))
        for run_id in run_ids:
            async with self._sessions.begin() as session:
                run, now = await lock_run(session, run_id)
                if run.state is RunState.RUNNING and (run.silent_after_time or now) < now:
                    error = f"nothing was heard for {self._settings.external_expiry_s:g} s"
                    outcome = JobOutcome.LEASE_EXPIRED
                    await lifecycle.enter(
                        session, run, RunState.INTERRUPTED, now=now, reason=outcome, error=error
                    )
