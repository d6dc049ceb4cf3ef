"""Storing points: one value per run, series and step; the first one stored wins."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kit import errors
from kit.db import server_now
from services.executor import points, wakeups
from services.executor.models.metric import MetricChunk, MetricSeries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.executor.models.update import RunHead
    from services.executor.points import Batch, Stretch

MAX_SERIES = 1000

_COPY = """
COPY metric_chunks
(run_id, series_id, update_sequence, first_step, last_step, point_count, steps, values)
FROM STDIN (FORMAT BINARY)
"""
_ADDED = """
WITH added
  (id, last_step, last_value, point_count, nonfinite_count, min_value, max_value, value_sum)
AS (SELECT * FROM unnest(
  CAST(:ids AS bigint[]), CAST(:last_steps AS bigint[]), CAST(:last_values AS float8[]),
  CAST(:point_counts AS bigint[]), CAST(:nonfinite_counts AS bigint[]),
  CAST(:min_values AS float8[]), CAST(:max_values AS float8[]), CAST(:value_sums AS float8[])
))
"""
_UPDATE = """
UPDATE metric_series AS series SET
  last_value = CASE WHEN added.last_step > series.last_step
    THEN added.last_value ELSE series.last_value END,
  last_step = greatest(series.last_step, added.last_step),
  point_count = series.point_count + added.point_count,
  nonfinite_count = series.nonfinite_count + added.nonfinite_count,
  min_value = least(series.min_value, added.min_value),
  max_value = greatest(series.max_value, added.max_value),
  value_sum = series.value_sum + added.value_sum,
  update_time = clock_timestamp()
FROM added WHERE series.id = added.id
"""
_INSERT_SINGLE = """
, stored AS (
  INSERT INTO metric_chunks
    (run_id, series_id, update_sequence, first_step, last_step, point_count, steps, values)
  SELECT CAST(:run_id AS uuid), id, CAST(:update_sequence AS bigint), last_step, last_step, 1,
    ARRAY[last_step], ARRAY[last_value]
  FROM added
)
"""
_SUMMARIZE = text(_ADDED + _UPDATE)
# One point per series is what a script logs at a time: a COPY would cost more than all the rest.
_STORE_SINGLE = text(_ADDED + _INSERT_SINGLE + _UPDATE)
_KNOWN = select(MetricSeries.name, MetricSeries.id, MetricSeries.last_step).where(
    MetricSeries.run_id == bindparam("run_id"),
    MetricSeries.name == func.any(bindparam("names", type_=ARRAY(Text()))),
)


async def store(session: AsyncSession, head: RunHead, batch: Batch) -> int:
    """Store the points that are new under the locked head of their run; return how many.

    Raises RESOURCE_EXHAUSTED when the run would have too many series.
    """
    if not batch.stretches:
        return 0
    known = await _series(session, head.run_id, list(batch.stretches))
    fresh = {}
    for name, stretch in batch.stretches.items():
        kept = await _without_stored(session, known[name], stretch)
        batch.duplicate_count += len(stretch) - len(kept)
        if len(kept):
            fresh[name] = kept
    if not fresh:
        return 0
    head.update_sequence += 1
    summaries = _summaries(known, fresh)
    if all(count == 1 for count in summaries["point_counts"]):
        chunk = {"run_id": head.run_id, "update_sequence": head.update_sequence}
        await session.execute(_STORE_SINGLE, summaries | chunk)
    else:
        rows = [
            (uuid.UUID(head.run_id).bytes, known[name].id, head.update_sequence, stretch)
            for name, stretch in fresh.items()
        ]
        await _copy(session, points.copy_stream(rows))
        await session.execute(_SUMMARIZE, summaries)
    wakeups.after_commit(session, head.run_id)
    return sum(len(stretch) for stretch in fresh.values())


async def _series(session: AsyncSession, run_id: str, names: Sequence[str]) -> Mapping[str, Any]:
    """Return (id, last_step) of each series by name; those that are new are created."""
    found = await session.execute(_KNOWN, {"run_id": run_id, "names": names})
    known = {row.name: row for row in found}
    missing = [name for name in names if name not in known]
    if not missing:
        return known
    count_query = select(func.count()).where(MetricSeries.run_id == run_id)
    if (await session.scalar(count_query) or 0) + len(missing) > MAX_SERIES:
        raise errors.resource_exhausted(
            f"a run has at most {MAX_SERIES} series",
            reason="TOO_MANY_SERIES",
            retry_after_s=3600,
            maximum=MAX_SERIES,
        )
    now = server_now()
    # Defaults of the mapped class do not reach an insert of many rows by column names.
    empty = {"last_step": -1, "last_value": 0.0, "value_sum": 0.0}
    counts = {"point_count": 0, "nonfinite_count": 0}
    created = insert(MetricSeries).values(
        [
            {"run_id": run_id, "name": name, "update_time": now, **empty, **counts}
            for name in missing
        ]
    )
    returned = created.returning(MetricSeries.name, MetricSeries.id, MetricSeries.last_step)
    return known | {row.name: row for row in await session.execute(returned)}


async def _without_stored(session: AsyncSession, series: Row[Any], stretch: Stretch) -> Stretch:
    """Leave out the points whose step has a value; nothing is read when all steps are later."""
    if stretch.steps[0] > series.last_step:
        return stretch
    overlapping = select(func.array_send(MetricChunk.steps)).where(
        MetricChunk.series_id == series.id,
        MetricChunk.last_step >= int(stretch.steps[0]),
        MetricChunk.first_step <= int(stretch.steps[-1]),
    )
    for sent in await session.scalars(overlapping):
        stretch = points.without(stretch, points.read_steps(sent))
    return stretch


async def _copy(session: AsyncSession, stream: bytes) -> None:
    connection = await (await session.connection()).get_raw_connection()
    assert connection.driver_connection is not None
    cursor = connection.driver_connection.cursor()
    async with cursor, cursor.copy(_COPY) as copy:
        await copy.write(stream)


def _summaries(known: Mapping[str, Any], fresh: Mapping[str, Stretch]) -> dict[str, list[Any]]:
    """Return what the fresh points add to each series, as parallel lists."""
    finite = [stretch.values[np.isfinite(stretch.values)] for stretch in fresh.values()]
    stretches = list(fresh.values())
    return {
        "ids": [known[name].id for name in fresh],
        "last_steps": [int(stretch.steps[-1]) for stretch in stretches],
        "last_values": [float(stretch.values[-1]) for stretch in stretches],
        "point_counts": [len(stretch) for stretch in stretches],
        "nonfinite_counts": [
            len(stretch) - len(some) for stretch, some in zip(stretches, finite, strict=True)
        ],
        "min_values": [float(some.min()) if len(some) else None for some in finite],
        "max_values": [float(some.max()) if len(some) else None for some in finite],
        "value_sums": [float(some.sum()) for some in finite],
    }


def take_sequence(head: RunHead, sequence: int) -> bool:
    """Move the writer's counter to this batch; say False when it was stored before.

    Raises FAILED_PRECONDITION / SEQUENCE_GAP when one before it is missing.
    """
    expected = head.append_sequence + 1
    if sequence > expected:
        raise errors.failed_precondition(
            f"batch {expected} is missing before batch {sequence}",
            reason="SEQUENCE_GAP",
            expected=expected,
            sequence=sequence,
        )
    if sequence < expected:
        return False
    head.append_sequence = sequence
    return True
