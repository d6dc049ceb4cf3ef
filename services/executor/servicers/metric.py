"""MetricService: numbers in and out."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import metric_pb2, metric_service_pb2, metric_service_pb2_grpc
from sqlalchemy import bindparam, func, select

from kit import errors, parse
from kit.auth import principal
from services.executor import ingest, lifecycle, points, watch
from services.executor.models.messages import stamp
from services.executor.models.metric import MetricChunk, MetricSeries
from services.executor.models.run import Run
from services.executor.models.update import RunHead, lock_head
from services.executor.points import Batch, Stretch
from services.executor.servicers.lease import stale_epoch
from services.executor.servicers.views import locked_run, visible_run
from services.executor.states import RunState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context

    Call = grpc.aio.ServicerContext

_QUEUED_MESSAGES = 16
_GROUP_POINTS = 50_000
_DEFAULT_POINTS = 1000
_MAX_POINTS = 10_000
_ANSWER_POINTS = 200_000

# A row per series of the run, with its owner; one without a series for a run that has none.
_LATEST = (
    select(Run.owner_id, MetricSeries)
    .outerjoin_from(Run, MetricSeries, MetricSeries.run_id == Run.id)
    .where(Run.id == bindparam("run_id"))
    .order_by(MetricSeries.name)
)


class MetricServicer(metric_service_pb2_grpc.MetricServiceServicer):
    """Takes metrics in and gives them out."""

    def __init__(self, context: Context) -> None:
        self._sessions = context.sessions
        self._settings = context.settings

    async def Append(
        self, requests: AsyncIterator[metric_service_pb2.AppendRequest], _call: Call
    ) -> metric_service_pb2.AppendResponse:
        """Store the batches of a worker, each one once."""
        answer = metric_service_pb2.AppendResponse()
        async with aclosing(_in_groups(requests)) as groups:
            async for group in groups:
                await self._append(group, answer)
        return answer

    async def _append(
        self,
        group: Sequence[metric_service_pb2.AppendRequest],
        answer: metric_service_pb2.AppendResponse,
    ) -> None:
        _check_group(group)
        batch = Batch()
        async with self._sessions.begin() as session:
            head = await _leased_head(session)
            _merge(head, group, batch)
            stored_count = await ingest.store(session, head, batch)
            acknowledged = head.append_sequence
        answer.stored_count += stored_count
        answer.acknowledged_sequence = acknowledged
        _count(answer, batch)

    async def LogMetrics(
        self, request: metric_service_pb2.LogMetricsRequest, _call: Call
    ) -> metric_service_pb2.AppendResponse:
        """Store the points of somebody's own script."""
        single = [
            metric_pb2.Series(name=name, steps=[request.step], values=[value])
            for name, value in request.values.items()
        ]
        batch = Batch()
        batch.add([*single, *request.series])
        answer = metric_service_pb2.AppendResponse()
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, request.run_id, field="run_id")
            expiry_s = self._settings.external_expiry_s
            await lifecycle.hear_external(session, run, now=now, expiry_s=expiry_s)
            # What changes of the run and its head is written once, at the end.
            with session.no_autoflush:
                head = await lock_head(session, run.id)
                answer.stored_count = await ingest.store(session, head, batch)
            steps = [int(stretch.steps[-1]) for stretch in batch.stretches.values()]
            if run.state is RunState.RUNNING and max(steps, default=-1) >= run.step:
                run.advance(iteration=max(steps), step=max(steps), now=now)
        _count(answer, batch)
        return answer

    async def GetMetricHistory(
        self, request: metric_service_pb2.GetMetricHistoryRequest, _call: Call
    ) -> metric_service_pb2.GetMetricHistoryResponse:
        """Read curves, thinned such that extremes stay."""
        max_points = _read_max_points(request.max_points)
        first, last = _read_range(request)
        answer = metric_service_pb2.GetMetricHistoryResponse()
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
            until = await session.scalar(
                select(RunHead.update_sequence).where(RunHead.run_id == run.id)
            )
            answer.cursor = watch.cursor_of(run.id, until or 0)
            wanted = await _series_of(session, run.id, request.names)
            max_points = min(max_points, max(2, _ANSWER_POINTS // max(1, len(wanted))))
            for series in wanted:
                stretch = await _read(session, series.id, first, last, until=until or 0)
                thinned = await asyncio.to_thread(points.thin, stretch, max_points)
                answer.total_counts.append(len(stretch))
                answer.series.append(
                    metric_pb2.Series(
                        name=series.name,
                        steps=thinned.steps.tolist(),
                        values=thinned.values.tolist(),
                    )
                )
        return answer

    async def GetLatestMetrics(
        self, request: metric_service_pb2.GetLatestMetricsRequest, _call: Call
    ) -> metric_service_pb2.GetLatestMetricsResponse:
        """Read the last value of every series."""
        async with self._sessions() as session:
            run_id = parse.uuid(request.run_id, "run_id")
            rows = (await session.execute(_LATEST, {"run_id": run_id})).all()
        if not rows or not principal().owns(rows[0].owner_id):
            raise errors.not_found("run", request.run_id)
        return metric_service_pb2.GetLatestMetricsResponse(
            series=[_summary(series) for _, series in rows if series and series.point_count]
        )


async def _in_groups(
    requests: AsyncIterator[metric_service_pb2.AppendRequest],
) -> AsyncGenerator[list[metric_service_pb2.AppendRequest]]:
    """Yield messages as they come, together with those that waited meanwhile."""
    queue: asyncio.Queue[metric_service_pb2.AppendRequest | None] = asyncio.Queue(_QUEUED_MESSAGES)

    async def read() -> None:
        try:
            async for request in requests:
                await queue.put(request)
        finally:
            await queue.put(None)

    reader = asyncio.create_task(read())
    try:
        is_open = True
        while is_open:
            group, is_open = await _next_group(queue)
            if group:
                yield group
        await reader
    finally:
        reader.cancel()


async def _next_group(
    queue: asyncio.Queue[metric_service_pb2.AppendRequest | None],
) -> tuple[list[metric_service_pb2.AppendRequest], bool]:
    group: list[metric_service_pb2.AppendRequest] = []
    size = 0
    while not group or (size < _GROUP_POINTS and not queue.empty()):
        request = await queue.get()
        if request is None:
            return group, False
        group.append(request)
        size += sum(len(series.steps) for series in request.series)
    return group, True


def _check_group(group: Sequence[metric_service_pb2.AppendRequest]) -> None:
    for request in group:
        parse.integer(request.sequence, "sequence", minimum=1, maximum=1 << 53)
        if request.run_id and parse.uuid(request.run_id, "run_id") != principal().run_id:
            raise errors.permission_denied("the token is for another run", reason="WRONG_RUN")


async def _leased_head(session: AsyncSession) -> RunHead:
    """Lock the counters of the caller's run while the caller holds its latest lease."""
    caller = principal()
    head = await lock_head(session, caller.run_id)
    if caller.epoch == 0 or head.epoch != caller.epoch:
        raise stale_epoch(caller.run_id, caller.epoch)
    return head


def _merge(head: RunHead, group: Sequence[metric_service_pb2.AppendRequest], batch: Batch) -> None:
    for request in group:
        if ingest.take_sequence(head, request.sequence):
            batch.add(request.series)
        else:
            batch.duplicate_count += sum(len(series.steps) for series in request.series)


def _count(answer: metric_service_pb2.AppendResponse, batch: Batch) -> None:
    answer.duplicate_count += batch.duplicate_count
    answer.rejected_count += batch.rejected_count
    room = points.MAX_REPORTED_REJECTIONS - len(answer.rejected)
    answer.rejected.extend(
        metric_service_pb2.RejectedPoint(name=item.name, index=item.index, reason=item.reason)
        for item in batch.rejections[:room]
    )


def _read_max_points(value: int) -> int:
    if value == 0:
        return _DEFAULT_POINTS
    return parse.integer(value, "max_points", minimum=2, maximum=_MAX_POINTS)


def _read_range(request: metric_service_pb2.GetMetricHistoryRequest) -> tuple[int, int]:
    first = parse.integer(request.first_step, "first_step", minimum=0, maximum=points.MAX_STEP)
    last = parse.integer(request.last_step, "last_step", minimum=0, maximum=points.MAX_STEP)
    return first, last or points.MAX_STEP


async def _series_of(session: AsyncSession, run_id: str, names: Sequence[str]) -> list[Any]:
    parse.integer(len(names), "names", minimum=0, maximum=ingest.MAX_SERIES)
    query = select(MetricSeries).where(MetricSeries.run_id == run_id)
    if names:
        query = query.where(MetricSeries.name.in_(names))
    return list(await session.scalars(query.order_by(MetricSeries.name)))


async def _read(
    session: AsyncSession, series_id: int, first: int, last: int, *, until: int
) -> Stretch:
    """Return the points of a series with a step in first..last, as of an update sequence."""
    query = select(func.array_send(MetricChunk.steps), func.array_send(MetricChunk.values)).where(
        MetricChunk.series_id == series_id,
        MetricChunk.last_step >= first,
        MetricChunk.first_step <= last,
        MetricChunk.update_sequence <= until,
    )
    chunks = [
        Stretch(points.read_steps(steps), points.read_values(values))
        for steps, values in await session.execute(query)
    ]
    stretch = points.join(chunks)
    return stretch.pick((stretch.steps >= first) & (stretch.steps <= last))


def _summary(series: MetricSeries) -> metric_service_pb2.SeriesSummary:
    finite = series.point_count - series.nonfinite_count
    return metric_service_pb2.SeriesSummary(
        name=series.name,
        step=series.last_step,
        value=series.last_value,
        count=series.point_count,
        min=series.min_value,
        max=series.max_value,
        mean=series.value_sum / finite if finite else None,
        nonfinite_count=series.nonfinite_count,
        update_time=stamp(series.update_time),
    )
