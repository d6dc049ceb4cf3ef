"""Who is next: free slots go to the attempts that are due, within what their owners may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, case, func, or_, select, text

from kit.db import server_now
from services.executor import lifecycle, resources
from services.executor.models.job import Job
from services.executor.models.run import Run, lock_run
from services.executor.resources import Resources
from services.executor.states import AT_WORK, JobState, RunType

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.executor.settings import ExecutorSettings

_BATCH = 32
"""Attempts that are given slots in one transaction, which holds the locks of their runs."""
# Two executors may not fill the same slot.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('elodrome.executor.slots', 0))")


async def take(session: AsyncSession, settings: ExecutorSettings) -> list[tuple[Job, Run]]:
    """Give free slots to attempts that are due; return them as STARTING, to be launched."""
    if not await _due(session, settings, limit=1):
        return []
    await session.execute(_LOCK)
    at_work = select(func.count()).select_from(Job).where(Job.state.in_(AT_WORK))
    free = settings.max_jobs - (await session.scalar(at_work) or 0)
    if free <= 0:
        return []
    taken = []
    held: dict[str, Resources] = {}
    for job_id, run_id in await _due(session, settings, limit=min(free, _BATCH)):
        run, now = await lock_run(session, run_id)
        job = await session.get(Job, job_id, populate_existing=True)
        if job is None or job.state is not JobState.PENDING:
            continue
        if run.owner_id not in held:
            held[run.owner_id] = await _held(session, run.owner_id, settings)
        wanted = held[run.owner_id].plus(given(run, settings).times(run.worker_count))
        if wanted.excess(resources.quota(settings)):
            continue
        held[run.owner_id] = wanted
        job.launch_time = now
        await lifecycle.enter_job(session, run, job, JobState.STARTING)
        taken.append((job, run))
    return taken


def given(run: Run, settings: ExecutorSettings) -> Resources:
    """Return what each worker of a run is given."""
    is_training = run.type in (RunType.TRAINING, RunType.CERTIFICATION)
    return run.resources.or_else(resources.default(settings, is_training=is_training))


async def _due(
    session: AsyncSession, settings: ExecutorSettings, *, limit: int
) -> list[tuple[str, str]]:
    """Return the attempts whose turn it is, as job and run, leaving out owners with no room."""
    query = (
        select(Job.id, Job.run_id)
        .join(Run, Run.id == Job.run_id)
        .where(Job.state == JobState.PENDING)
        .where(or_(Job.not_before_time.is_(None), Job.not_before_time <= server_now()))
        .order_by(Run.priority.desc(), Run.queue_time, Run.id)
        .limit(limit)
    )
    if any(resources.quota(settings)):
        query = query.where(_has_room(settings))
    return [(job_id, run_id) for job_id, run_id in await session.execute(query)]


def _has_room(settings: ExecutorSettings) -> ColumnElement[bool]:
    """Return the condition that an owner may hold what a run asks for beside what it holds."""
    other = select(Run.__table__).alias("other")
    at_work = select(Job.run_id).where(Job.state.in_(AT_WORK))
    conditions = []
    for name, most in resources.quota(settings)._asdict().items():
        if not most:
            continue
        held = (
            select(func.coalesce(func.sum(_asked(other.c, name, settings)), 0))
            .where(other.c.owner_id == Run.owner_id, other.c.id.in_(at_work))
            .correlate(Run)
            .scalar_subquery()
        )
        conditions.append(held + _asked(Run, name, settings) <= most)
    return and_(*conditions)


def _asked(run: object, name: str, settings: ExecutorSettings) -> ColumnElement[float]:
    """Return what all workers of a run are given, in SQL as `given` has it."""
    asked = getattr(run, name)
    trainer, referee = (
        getattr(resources.default(settings, is_training=is_training), name)
        for is_training in (True, False)
    )
    kinds = [RunType.TRAINING, RunType.CERTIFICATION]
    default = case((run.type.in_(kinds), trainer), else_=referee)  # type: ignore[attr-defined]
    return case((asked > 0, asked), else_=default) * run.worker_count  # type: ignore[attr-defined]


async def _held(session: AsyncSession, owner_id: str, settings: ExecutorSettings) -> Resources:
    """Return what the workers of an owner hold now."""
    query = select(Run).join(Job, Job.run_id == Run.id).where(Job.state.in_(AT_WORK))
    held = Resources()
    if any(resources.quota(settings)):
        for run in await session.scalars(query.where(Run.owner_id == owner_id)):
            held = held.plus(given(run, settings).times(run.worker_count))
    return held
