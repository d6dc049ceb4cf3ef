"""Fair shares: of the slots that several owners wait for, each gets as its weight is.

Start-time fair queueing (Goyal, Vin & Cheng, 1996). Every owner has a virtual time, the seconds
for which its workers held slots over its weight, and the next slot goes to whoever has the least.
Owners who come to wait begin where the least of the others is: having been away is no credit, and
what was used while nobody else waited is no debt. How long a worker will hold its slot is not
known when it gets one: the owner is charged what its workers took of late, and the rest, or too
much, when the worker has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    ColumnElement,
    Double,
    Text,
    Update,
    bindparam,
    column,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kit.db import server_now
from services.executor.models.job import Job
from services.executor.models.run import Run
from services.executor.models.share import Share
from services.executor.states import AT_WORK, JobState, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from services.executor.settings import ExecutorSettings

_FIRST_GUESS_S = 60.0
_LATEST_COUNTS = 0.2
"""How much of an owner's mean is its latest worker."""
_HOLDING = (
    select(Run.owner_id).join(Job, Job.run_id == Run.id).where(Job.state.in_(AT_WORK)).distinct()
)
_MOST = select(func.max(Share.tag_s)).scalar_subquery()
_MEAN = select(func.avg(Share.mean_s)).scalar_subquery()
_OWN_ORDER = (Run.priority.desc(), Run.queue_time, Run.id)


def start_tag() -> ColumnElement[float]:
    """Return the virtual time at which an attempt of a query's runs starts; least is next.

    Its owner's other attempts of the query come first by priority, then by time of queueing. The
    query has to join the shares, outer or not.
    """
    before = func.sum(Run.worker_count).over(
        partition_by=Run.owner_id, order_by=_OWN_ORDER, rows=(None, -1)
    )
    each_s = func.coalesce(Share.mean_s / Share.weight, _FIRST_GUESS_S)
    return func.coalesce(Share.tag_s, 0) + func.coalesce(before, 0) * each_s


async def queue_positions(session: AsyncSession) -> dict[str, int]:
    """Return the place of every queued run, 1 is next: by fair share, priority and time."""
    order = select(Run.id).join(Job, Job.run_id == Run.id)
    order = order.outerjoin(Share, Share.owner_id == Run.owner_id)
    order = order.where(Job.state == JobState.PENDING, Run.state == RunState.PENDING)
    order = order.order_by(start_tag(), Run.queue_time, Run.id)
    return {run_id: place for place, run_id in enumerate(await session.scalars(order), start=1)}


async def place(
    session: AsyncSession, waiting: Mapping[str, datetime], settings: ExecutorSettings
) -> None:
    """Give a place to owners who came to wait: `waiting`, and since when each of them is."""
    holding = set(await session.scalars(_HOLDING))
    query = select(Share.owner_id, Share.tag_s, Share.weight, Share.active_time)
    query = query.where(Share.owner_id.in_(holding | waiting.keys()))
    known = {row.owner_id: row for row in await session.execute(query)}
    # Whoever holds slots, or had some since it began to wait, has its place.
    placed = {
        owner: row.tag_s
        for owner, row in known.items()
        if owner in holding or row.active_time >= waiting[owner]
    }
    weights = {owner: settings.owner_weights.get(owner, 1.0) for owner in waiting}
    moved = [
        {"owner_id": owner, "weight": weight}
        for owner, weight in weights.items()
        if owner not in placed or known[owner].weight != weight
    ]
    if not moved:
        return
    # Where nobody has a place they begin alike, whatever each had before.
    floor = literal(min(placed.values())) if placed else func.coalesce(_MOST, 0)
    new = insert(Share).values(
        tag_s=floor,
        mean_s=func.coalesce(_MEAN, _FIRST_GUESS_S),
        active_time=server_now(),
        owner_id=bindparam("owner_id"),
        weight=bindparam("weight"),
    )
    await session.execute(
        new.on_conflict_do_update(
            index_elements=[Share.owner_id],
            set_={
                "tag_s": func.greatest(Share.tag_s, new.excluded.tag_s),
                "weight": new.excluded.weight,
                "active_time": new.excluded.active_time,
            },
        ),
        moved,
    )


async def charge(session: AsyncSession, taken: Sequence[tuple[Job, Run]]) -> None:
    """Have owners pay for attempts that get their slots, by how long their workers take of late."""
    owners = {run.owner_id for _, run in taken}
    query = select(Share.owner_id, Share.mean_s).where(Share.owner_id.in_(owners))
    means = dict((await session.execute(query)).all())
    paid = dict.fromkeys(owners, 0.0)
    for job, run in taken:
        job.charged_s = run.worker_count * means[run.owner_id]
        paid[run.owner_id] += job.charged_s
    names, sums = literal(list(paid), ARRAY(Text)), literal(list(paid.values()), ARRAY(Double))
    columns = column("owner_id", Text), column("seconds", Double)
    bill = func.unnest(names, sums).table_valued(*columns).render_derived()
    paying = _pay(bill.c.seconds).where(Share.owner_id == bill.c.owner_id)
    await session.execute(paying)


async def settle(session: AsyncSession, run: Run, job: Job, *, now: datetime) -> None:
    """Have the owner of an attempt that ends pay for the time that it took, and not more."""
    if job.launch_time is None:
        return
    each_s = max(0.0, (now - job.launch_time).total_seconds())
    paying = _pay(literal(run.worker_count * each_s - job.charged_s))
    mean_s = Share.mean_s + _LATEST_COUNTS * (each_s - Share.mean_s)
    await session.execute(paying.where(Share.owner_id == run.owner_id).values(mean_s=mean_s))


def _pay(seconds: ColumnElement[float]) -> Update:
    values = {"tag_s": Share.tag_s + seconds / Share.weight, "active_time": server_now()}
    return update(Share).values(values).execution_options(synchronize_session=False)
