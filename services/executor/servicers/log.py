"""LogService: what workers print."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from elodrome.executor.v1 import log_service_pb2, log_service_pb2_grpc
from sqlalchemy import func, select

from kit import page
from services.executor import watch
from services.executor.models.log import LogLine
from services.executor.servicers.views import visible_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context

    Call = grpc.aio.ServicerContext

_MAX_PAGE_BYTES = 2 << 20


class LogServicer(log_service_pb2_grpc.LogServiceServicer):
    """Reads and follows logs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sessions = context.sessions

    async def ListLogLines(
        self, request: log_service_pb2.ListLogLinesRequest, _call: Call
    ) -> log_service_pb2.ListLogLinesResponse:
        """Read a page of lines, oldest first, or the newest ones."""
        size = page.page_size(request.page_size)
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
            total = await _count(session, run.id, request.attempt)
            if request.tail:
                lines = await _newest(session, run.id, request.attempt, size)
            else:
                after = watch.read_cursor(request.page_token, run.id)
                lines = await watch.lines_after(
                    session, run.id, after, limit=size + 1, attempt=request.attempt
                )
        items = _fitting(lines[::-1])[::-1] if request.tail else _fitting(lines[:size])
        token = watch.cursor_of(run.id, items[-1].number) if len(lines) > len(items) else ""
        return log_service_pb2.ListLogLinesResponse(
            items=[line.to_proto() for line in items],
            next_page_token="" if request.tail else token,
            total=total,
        )

    async def WatchLogs(
        self, request: log_service_pb2.WatchLogsRequest, _call: Call
    ) -> AsyncIterator[log_service_pb2.WatchLogsResponse]:
        """Follow the lines of a run."""
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
        after = watch.read_cursor(request.cursor, run.id)
        async for message in watch.follow_log(self._context, run.id, after):
            yield message


def _fitting(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Return as many of the first lines as one answer can hold, at least one."""
    sizes = accumulate(len(line.text.encode()) for line in lines)
    return lines[: max(1, sum(size <= _MAX_PAGE_BYTES for size in sizes))]


async def _count(session: AsyncSession, run_id: str, attempt: int) -> int:
    query = select(func.count()).select_from(LogLine).where(LogLine.run_id == run_id)
    if attempt:
        query = query.where(LogLine.attempt == attempt)
    return await session.scalar(query) or 0


async def _newest(session: AsyncSession, run_id: str, attempt: int, size: int) -> list[LogLine]:
    query = select(LogLine).where(LogLine.run_id == run_id)
    if attempt:
        query = query.where(LogLine.attempt == attempt)
    newest = await session.scalars(query.order_by(LogLine.number.desc()).limit(size))
    return list(newest)[::-1]
