"""Who is next: free slots go to attempts that are due, by fair shares and within quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select, text

from kit.db import server_now
from services.executor import lifecycle, resources, shares
from services.executor.models.job import Job
from services.executor.models.run import Run, lock_run
from services.executor.models.share import Share
from services.executor.resources import Resources
from services.executor.states import AT_WORK, JobState, RunType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.executor.settings import ExecutorSettings

_BATCH = 32
"""Attempts that are given slots in one transaction, which holds the locks of their runs."""
_TRAININGS = (RunType.TRAINING, RunType.CERTIFICATION)
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('elodrome.executor.slots', 0))")
"""Taken by whoever gives slots away: two executors may not fill the same one."""


async def take(
    sessions: Sessions, settings: ExecutorSettings
) -> AsyncGenerator[list[tuple[Job, Run]]]:
    """Give free slots to attempts that are due, until none is due or free.

    Yields those that became STARTING in one transaction, to be launched.
    """
    while turns := await _turns(sessions, settings):
        is_done = True
        for first in range(0, len(turns), _BATCH):
            async with sessions.begin() as session:
                await session.execute(LOCK)
                taken = await _give(session, turns[first : first + _BATCH], settings)
            if taken:
                is_done = False
                yield taken
        if is_done:
            return


async def _turns(sessions: Sessions, settings: ExecutorSettings) -> list[tuple[str, str]]:
    """Return the run and the job of the attempts whose turn it is, as many as there is room for."""
    due = _due(settings).subquery()
    oldest = select(due.c.owner_id, func.min(due.c.queue_time)).group_by(due.c.owner_id)
    async with sessions.begin() as session:
        free = await _free(session, settings)
        waiting: dict[str, datetime] = dict((await session.execute(oldest)).all())
        if free <= 0 or not waiting:
            return []
        await session.execute(LOCK)
        await shares.place(session, waiting, settings)
        # Whoever has come to wait since has no place yet, and its turn in the next round.
        order = _due(settings).join(Share, Share.owner_id == Run.owner_id)
        order = order.where(Run.owner_id.in_(waiting))
        order = order.order_by(shares.start_tag(), Run.queue_time, Run.id).limit(free)
        return [(row.run_id, row.job_id) for row in await session.execute(order)]


async def _give(
    session: AsyncSession, turns: Sequence[tuple[str, str]], settings: ExecutorSettings
) -> list[tuple[Job, Run]]:
    """Give slots to attempts, as far as there are some and their owners have room."""
    free = await _free(session, settings)
    quota = resources.quota(settings)
    held = await _held(session, settings) if any(quota) else {}
    taken: list[tuple[Job, Run]] = []
    for run_id, job_id in turns:
        if len(taken) >= free:
            break
        run, now = await lock_run(session, run_id)
        job = await session.get(Job, job_id, populate_existing=True)
        if job is None or job.state is not JobState.PENDING:
            continue
        before = held.get(run.owner_id, Resources())
        wanted = before.plus(given(run, settings).times(run.worker_count))
        if wanted.excess(quota):
            continue
        held[run.owner_id] = wanted
        job.launch_time = now
        await lifecycle.enter_job(session, run, job, JobState.STARTING)
        taken.append((job, run))
    if taken:
        await shares.charge(session, taken)
    return taken


async def _free(session: AsyncSession, settings: ExecutorSettings) -> int:
    at_work = select(func.count()).select_from(Job).where(Job.state.in_(AT_WORK))
    return settings.max_jobs - (await session.scalar(at_work) or 0)


def given(run: Run, settings: ExecutorSettings) -> Resources:
    """Return what each worker of a run is given."""
    is_training = run.type in _TRAININGS
    return run.resources.or_else(resources.default(settings, is_training=is_training))


def _due(settings: ExecutorSettings) -> Select[*tuple[Any, ...]]:
    """Return the attempts whose turn may come, without those for which their owner has no room.

    Columns are `job_id`, `run_id`, `owner_id` and `queue_time`.
    """
    query = (
        select(Job.id.label("job_id"), Job.run_id, Run.owner_id, Run.queue_time)
        .join(Run, Run.id == Job.run_id)
        .where(Job.state == JobState.PENDING)
        .where(or_(Job.not_before_time.is_(None), Job.not_before_time <= server_now()))
    )
    quota = resources.quota(settings)
    if not any(quota):
        return query
    held = _holdings(settings).subquery("held")
    query = query.outerjoin(held, held.c.owner_id == Run.owner_id)
    for name, most in quota._asdict().items():
        if most:
            query = query.where(func.coalesce(held.c[name], 0) + _asked(name, settings) <= most)
    return query


async def _held(session: AsyncSession, settings: ExecutorSettings) -> dict[str, Resources]:
    """Return what the workers of each owner hold."""
    rows = await session.execute(_holdings(settings))
    return {owner_id: Resources(*sums) for owner_id, *sums in rows}


def _holdings(settings: ExecutorSettings) -> Select[*tuple[Any, ...]]:
    sums = [func.sum(_asked(name, settings)).label(name) for name in Resources._fields]
    query = select(Run.owner_id, *sums).join(Job, Job.run_id == Run.id)
    return query.where(Job.state.in_(AT_WORK)).group_by(Run.owner_id)


def _asked(name: str, settings: ExecutorSettings) -> ColumnElement[float]:
    """Return what all workers of a run are given of a resource: `given`, in SQL."""
    own = getattr(Run, name)
    trainer, referee = (
        getattr(resources.default(settings, is_training=is_training), name)
        for is_training in (True, False)
    )
    otherwise = case((Run.type.in_(_TRAININGS), trainer), else_=referee)
    return case((own > 0, own), else_=otherwise) * Run.worker_count
