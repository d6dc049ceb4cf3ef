"""Reading runs as their callers may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Uuid, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from kit import errors, parse
from kit.auth import principal
from services.executor.models.certificate import certificate_of
from services.executor.models.metric import MetricSeries
from services.executor.models.run import Run, lock_run
from services.executor.shares import queue_positions
from services.executor.states import RunState, RunType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from elodrome.executor.v1 import run_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

_LATEST = (
    select(func.clock_timestamp(), Run.id, MetricSeries.name, MetricSeries.last_value)
    .outerjoin_from(Run, MetricSeries, MetricSeries.run_id == Run.id)
    .where(Run.id == func.any(bindparam("run_ids", type_=ARRAY(Uuid(as_uuid=False)))))
)
_SERIES = (
    select(
        func.array_agg(MetricSeries.name).label("names"),
        func.array_agg(MetricSeries.last_value).label("last_values"),
    )
    .where(MetricSeries.run_id == Run.id)
    .lateral("series")
)
_SHOWN = (
    select(Run, func.clock_timestamp(), _SERIES.c.names, _SERIES.c.last_values)
    .join(_SERIES, true())
    .where(Run.id == bindparam("run_id"))
)


async def visible_run(session: AsyncSession, run_id: str, *, field: str = "id") -> Run:
    """Return a run of the caller; raise NOT_FOUND when there is none or it is somebody else's."""
    run = await session.get(Run, parse.uuid(run_id, field))
    if run is None or not principal().owns(run.owner_id):
        raise errors.not_found("run", run_id)
    return run


async def locked_run(
    session: AsyncSession, run_id: str, *, field: str = "id"
) -> tuple[Run, datetime]:
    """Lock a run of the caller; return it with the database's time, or raise NOT_FOUND."""
    run, now = await lock_run(session, parse.uuid(run_id, field))
    if not principal().owns(run.owner_id):
        raise errors.not_found("run", run_id)
    return run, now


async def show_visible(session: AsyncSession, run_id: str) -> run_pb2.Run:
    """Return a run of the caller with what `show` adds, in one query; raise NOT_FOUND."""
    row = (await session.execute(_SHOWN, {"run_id": parse.uuid(run_id, "id")})).one_or_none()
    if row is None or not principal().owns(row.Run.owner_id):
        raise errors.not_found("run", run_id)
    run, now, names, values = row
    latest: dict[str, float] = dict(zip(names or [], values or [], strict=True))
    places = await queue_positions(session) if run.state is RunState.PENDING else {}
    certificates = await _certificates(session, [run])
    return run.to_proto(
        now,
        latest_metrics=latest,
        queue_position=places.get(run.id, 0),
        certificate=certificates[run.id],
    )


async def show(session: AsyncSession, run: Run) -> run_pb2.Run:
    """Return a run with its latest metrics and its place in the queue."""
    return (await show_all(session, [run]))[0]


async def show_all(session: AsyncSession, runs: Sequence[Run]) -> list[run_pb2.Run]:
    """Return runs with their latest metrics and their places in the queue."""
    if not runs:
        return []
    await session.flush()
    now, latest = await _latest(session, [run.id for run in runs])
    is_any_queued = any(run.state is RunState.PENDING for run in runs)
    places = await queue_positions(session) if is_any_queued else {}
    certificates = await _certificates(session, runs)
    return [
        run.to_proto(
            now,
            latest_metrics=latest[run.id],
            queue_position=places.get(run.id, 0),
            certificate=certificates[run.id],
        )
        for run in runs
    ]


async def _certificates(
    session: AsyncSession, runs: Sequence[Run]
) -> dict[str, run_pb2.Certificate | None]:
    """Return the certificate of every run; None for types that have none."""
    proofs = {run.id: run for run in runs if run.type is RunType.CERTIFICATION}
    missing = {run.certification_run_id for run in runs} - proofs.keys() - {None}
    if missing:
        found = await session.scalars(select(Run).where(Run.id.in_(missing)))
        proofs |= {run.id: run for run in found}
    return {run.id: _certificate(run, proofs) for run in runs}


def _certificate(run: Run, proofs: Mapping[str, Run]) -> run_pb2.Certificate | None:
    if run.type is RunType.CERTIFICATION:
        return certificate_of(run)
    if run.type is not RunType.TRAINING:
        return None
    return certificate_of(proofs.get(run.certification_run_id or ""))


async def _latest(
    session: AsyncSession, run_ids: Sequence[str]
) -> tuple[datetime, dict[str, dict[str, float]]]:
    """Return the database's time and the last value of every series of every run, in one query."""
    rows = (await session.execute(_LATEST, {"run_ids": run_ids})).all()
    latest: dict[str, dict[str, float]] = {run_id: {} for run_id in run_ids}
    for _, run_id, name, value in rows:
        if name is not None:
            latest[run_id][name] = value
    return rows[0][0], latest
