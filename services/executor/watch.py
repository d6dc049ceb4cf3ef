"""Following a run: everything that was committed, in that order, from a cursor on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from elodrome.executor.v1 import log_service_pb2, metric_pb2, run_service_pb2
from sqlalchemy import func, select

from kit import errors
from services.executor import points, wakeups
from services.executor.log_tails import log_topic
from services.executor.models.job import Job
from services.executor.models.log import LogLine
from services.executor.models.metric import MetricChunk, MetricSeries
from services.executor.models.run import Run
from services.executor.models.update import RunHead, RunUpdate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context

_POLL_S = 1.0
_WINDOW = 200
_LOG_LINES = 500
_CURSOR = re.compile(r"(?P<run>[0-9a-f]{8})\.(?P<sequence>[0-9]{1,18})")


def cursor_of(run_id: str, sequence: int) -> str:
    """Return the cursor of an update; it names its run, so that it is of no use for another."""
    return f"{run_id[:8]}.{sequence}"


def read_cursor(cursor: str, run_id: str) -> int:
    """Return the sequence of a cursor, 0 for none; raise INVALID_ARGUMENT for another run's."""
    if not cursor:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None or match["run"] != run_id[:8]:
        raise errors.invalid_argument(
            "cursor", "must be a cursor of this run", reason="INVALID_CURSOR"
        )
    return int(match["sequence"])


async def follow_run(
    context: Context, run_id: str, after: int
) -> AsyncIterator[run_service_pb2.WatchRunResponse]:
    """Yield every update after a sequence; end after `done`, or when this service drains."""
    with wakeups.listening(run_id) as listener:
        while not context.draining.is_set():
            async with context.sessions() as session:
                run, until = await _snapshot(session, run_id)
                window_end = min(until, after + _WINDOW)
                messages = await _between(session, run_id, after, window_end)
            for message in messages:
                yield message
            after = max(after, window_end)
            if after < until:
                continue
            if run.is_settled:
                yield _done(run, after)
                return
            await wakeups.wait(listener, _POLL_S)


async def _snapshot(session: AsyncSession, run_id: str) -> tuple[Run, int]:
    """Return the run and the sequence of the last update committed, as of one moment."""
    query = select(Run, RunHead.update_sequence).join(RunHead, RunHead.run_id == Run.id)
    row = (await session.execute(query.where(Run.id == run_id))).one_or_none()
    if row is None:
        raise errors.not_found("run", run_id)
    return row[0], row[1]


async def _between(
    session: AsyncSession, run_id: str, after: int, until: int
) -> list[run_service_pb2.WatchRunResponse]:
    if until <= after:
        return []
    messages = await _metrics_between(session, run_id, after, until)
    query = select(RunUpdate.sequence, RunUpdate.message).where(
        RunUpdate.run_id == run_id, RunUpdate.sequence > after, RunUpdate.sequence <= until
    )
    for sequence, stored in await session.execute(query):
        messages[sequence] = run_service_pb2.WatchRunResponse.FromString(stored)
    for sequence, message in messages.items():
        message.cursor = cursor_of(run_id, sequence)
    return [message for _sequence, message in sorted(messages.items())]


async def _metrics_between(
    session: AsyncSession, run_id: str, after: int, until: int
) -> dict[int, run_service_pb2.WatchRunResponse]:
    query = (
        select(
            MetricChunk.update_sequence,
            MetricSeries.name,
            func.array_send(MetricChunk.steps),
            func.array_send(MetricChunk.values),
        )
        .join(MetricSeries, MetricSeries.id == MetricChunk.series_id)
        .where(
            MetricChunk.run_id == run_id,
            MetricChunk.update_sequence > after,
            MetricChunk.update_sequence <= until,
        )
        .order_by(MetricSeries.name)
    )
    messages: dict[int, run_service_pb2.WatchRunResponse] = {}
    for sequence, name, sent_steps, sent_values in await session.execute(query):
        message = messages.setdefault(sequence, run_service_pb2.WatchRunResponse())
        steps = points.read_steps(sent_steps).tolist()
        values = points.read_values(sent_values).tolist()
        update = message.metrics
        update.series.append(metric_pb2.Series(name=name, steps=steps, values=values))
        update.step = max(update.step, steps[-1])
        update.values[name] = values[-1]
    return messages


def _done(run: Run, sequence: int) -> run_service_pb2.WatchRunResponse:
    done = run_service_pb2.RunDone(
        state=run.state.to_proto(), reason=run.reason, last_error=run.last_error
    )
    return run_service_pb2.WatchRunResponse(cursor=cursor_of(run.id, sequence), done=done)


async def follow_log(
    context: Context, run_id: str, after: int
) -> AsyncIterator[log_service_pb2.WatchLogsResponse]:
    """Yield every line after a number; end after `done`, or when this service drains."""
    with wakeups.listening(log_topic(run_id)) as listener:
        while not context.draining.is_set():
            async with context.sessions() as session:
                is_complete = await _is_log_complete(session, run_id)
                lines = await lines_after(session, run_id, after, limit=_LOG_LINES)
            for line in lines:
                after = line.number
                cursor = cursor_of(run_id, after)
                yield log_service_pb2.WatchLogsResponse(cursor=cursor, line=line.to_proto())
            if len(lines) == _LOG_LINES:
                continue
            if is_complete:
                done = log_service_pb2.LogDone(line_count=after)
                cursor = cursor_of(run_id, after)
                yield log_service_pb2.WatchLogsResponse(cursor=cursor, done=done)
                return
            await wakeups.wait(listener, _POLL_S)


async def _is_log_complete(session: AsyncSession, run_id: str) -> bool:
    """Say whether the run has settled and every line of its workers is stored."""
    run, _until = await _snapshot(session, run_id)
    unreaped = select(func.count()).select_from(Job).where(Job.run_id == run_id, ~Job.is_reaped)
    return run.is_settled and not await session.scalar(unreaped)


async def lines_after(
    session: AsyncSession, run_id: str, after: int, *, limit: int, attempt: int = 0
) -> list[LogLine]:
    """Return the first `limit` lines after a number, of one attempt or of all."""
    query = select(LogLine).where(LogLine.run_id == run_id, LogLine.number > after)
    if attempt:
        query = query.where(LogLine.attempt == attempt)
    return list(await session.scalars(query.order_by(LogLine.number).limit(limit)))
