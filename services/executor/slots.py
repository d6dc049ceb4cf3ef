"""Who is next: free slots go to the attempts that are due, within what their owners may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select, text

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
_TRAININGS = (RunType.TRAINING, RunType.CERTIFICATION)
_HELD = [f"held_{name}" for name in Resources._fields]
# Two executors may not fill the same slot.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('elodrome.executor.slots', 0))")


async def take(session: AsyncSession, settings: ExecutorSettings) -> list[tuple[Job, Run]]:
    """Give free slots to attempts that are due; return them as STARTING, to be launched."""
    if not (await session.execute(_due(settings).limit(1))).first():
        return []
    await session.execute(_LOCK)
    at_work = select(func.count()).select_from(Job).where(Job.state.in_(AT_WORK))
    free = settings.max_jobs - (await session.scalar(at_work) or 0)
    if free <= 0:
        return []
    quota = resources.quota(settings)
    held: dict[str, Resources] = {}
    taken = []
    for row in (await session.execute(_due(settings).limit(min(free, _BATCH)))).all():
        run, now = await lock_run(session, row.run_id)
        job = await session.get(Job, row.job_id, populate_existing=True)
        if job is None or job.state is not JobState.PENDING:
            continue
        before = held.get(run.owner_id, Resources(*(getattr(row, name) for name in _HELD)))
        wanted = before.plus(given(run, settings).times(run.worker_count))
        if wanted.excess(quota):
            continue
        held[run.owner_id] = wanted
        job.launch_time = now
        await lifecycle.enter_job(session, run, job, JobState.STARTING)
        taken.append((job, run))
    return taken


def given(run: Run, settings: ExecutorSettings) -> Resources:
    """Return what each worker of a run is given."""
    is_training = run.type in _TRAININGS
    return run.resources.or_else(resources.default(settings, is_training=is_training))


def _due(settings: ExecutorSettings) -> Select[Any]:
    """Return the attempts whose turn it is, leaving out those for which their owner has no room.

    Columns are `job_id`, `run_id`, and what the workers of the owner hold, `held_` and a resource;
    0 where there is no quota.
    """
    quota = {name: most for name, most in resources.quota(settings)._asdict().items() if most}
    asked = {name: _asked(name, settings) for name in quota}
    sums = [func.sum(value).label(name) for name, value in asked.items()]
    at_work = select(Run.owner_id, *sums).join(Job, Job.run_id == Run.id)
    at_work = at_work.where(Job.state.in_(AT_WORK)).group_by(Run.owner_id)
    owners = at_work.subquery("owners")
    held = {name: func.coalesce(owners.c[name], 0) for name in quota}
    columns = [held.get(name, literal(0)).label(f"held_{name}") for name in Resources._fields]
    query = (
        select(Job.id.label("job_id"), Job.run_id, *columns)
        .join(Run, Run.id == Job.run_id)
        .where(Job.state == JobState.PENDING)
        .where(or_(Job.not_before_time.is_(None), Job.not_before_time <= server_now()))
        .order_by(Run.priority.desc(), Run.queue_time, Run.id)
    )
    if not quota:
        return query
    query = query.outerjoin(owners, owners.c.owner_id == Run.owner_id)
    return query.where(*(held[name] + asked[name] <= most for name, most in quota.items()))


def _asked(name: str, settings: ExecutorSettings) -> ColumnElement[float]:
    """Return what all workers of a run are given of a resource: `given`, in SQL."""
    own = getattr(Run, name)
    trainer, referee = (
        getattr(resources.default(settings, is_training=is_training), name)
        for is_training in (True, False)
    )
    otherwise = case((Run.type.in_(_TRAININGS), trainer), else_=referee)
    return case((own > 0, own), else_=otherwise) * Run.worker_count
