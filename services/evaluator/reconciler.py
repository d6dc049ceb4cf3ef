"""Brings runs and what they play together again and again, whatever was lost in between.

Starting a run is idempotent on the workload's id, so a crash between the call and its record is
mended by calling again. A workload ends at the latest when its time is up.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from elodrome.executor.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc
from sqlalchemy import func, select

from kit import errors, failpoint, trace
from kit.db import server_now
from kit.gauges import Pace
from services.evaluator import ending, gauges
from services.evaluator.models.workload import ACTIVE, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import ColumnExpressionArgument
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.sql.functions import Function

    from kit.server import Context
    from services.evaluator.bell import Bell
    from services.evaluator.models.workload import Workload

log = structlog.get_logger("evaluator.reconciler")

_TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
# How long a workload may stand still before its run is looked at.
_QUIET_S = 10


class Reconciler:
    """Starts, stops and looks after the runs of workloads; `wake` makes it look at once."""

    def __init__(self, context: Context, bell: Bell) -> None:
        self._context = context
        self._bell = bell
        self._pace = Pace(gauges.RECONCILER, context.settings.evaluation_reconcile_s)
        self._runs = run_service_pb2_grpc.RunServiceStub(context.channel("executor"))
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Look now instead of after the interval."""
        self._awake.set()

    async def run(self) -> None:
        """Look for ever; a failing look is logged by the kit and repeated."""
        while True:
            self._awake.clear()
            await self.look()
            self._pace.passed()
            try:
                async with asyncio.timeout(self._pace.interval_s):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Go once over everything that is due."""
        for kind in ending.KINDS:
            await self._look_at(kind)

    async def _look_at(self, kind: type[Workload]) -> None:
        for workload_id in await self._due(kind, kind.state == State.PENDING, run_id=False):
            await self._start_run(kind, workload_id)
        for workload_id in await self._due(kind, kind.stop_due):
            await self._stop_run(kind, workload_id)
        overdue = server_now() > kind.create_time + _seconds(kind.time_limit_s)
        for workload_id in await self._due(kind, kind.state.in_(ACTIVE), overdue):
            await self._time_out(kind, workload_id)
        quiet = kind.update_time < server_now() - _seconds(_QUIET_S)
        for workload_id in await self._due(kind, kind.state.in_(ACTIVE), quiet, run_id=True):
            await self._look_at_run(kind, workload_id)

    async def _due(
        self,
        kind: type[Workload],
        *conditions: ColumnExpressionArgument[bool],
        run_id: bool | None = None,
    ) -> list[str]:
        query = select(kind.id).where(*conditions).order_by(kind.create_time).limit(200)
        if run_id is not None:
            query = query.where(kind.run_id.is_not(None) == run_id)
        async with self._context.sessions() as session:
            return list(await session.scalars(query))

    async def _start_run(self, kind: type[Workload], workload_id: str) -> None:
        async with self._context.sessions() as session:
            workload = await session.get_one(kind, workload_id)
        with trace.within(workload.traceparent):
            metadata = self._context.call_metadata(workload.run_owner_id)
            try:
                run = await self._runs.CreateRun(workload.run_request(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await self._not_started(kind, workload_id, error)
                return
        failpoint.hit(f"{kind.NOUN}.after_create_run")
        async with self._locked(kind, workload_id) as (_, workload):
            workload.run_id = run.id

    async def _not_started(
        self, kind: type[Workload], workload_id: str, error: grpc.aio.AioRpcError
    ) -> None:
        """Try again later if that may help; otherwise the workload has failed."""
        problem = errors.from_call(error)
        if problem.code in _TRANSIENT:
            log.warning("run_not_started", kind=kind.NOUN, id=workload_id, reason=problem.reason)
            return
        async with self._locked(kind, workload_id) as (session, workload):
            if workload.is_active:
                reason = f"the executor refused its run: {problem.message}"
                await ending.fail(session, workload, reason)

    async def _stop_run(self, kind: type[Workload], workload_id: str) -> None:
        async with self._context.sessions() as session:
            run_id = (await session.get_one(kind, workload_id)).run_id
        # A run that was created without our knowing it learns from its claim that it is over.
        if run_id is not None:
            request = run_service_pb2.CancelRunRequest(id=run_id)
            try:
                await self._runs.CancelRun(request, metadata=self._context.call_metadata())
            except grpc.aio.AioRpcError as error:
                if error.code() in _TRANSIENT:
                    log.warning("run_not_stopped", kind=kind.NOUN, id=workload_id)
                    return
                # Any other refusal says that the run has ended or is gone, which is what we want.
                log.info("run_already_ended", run_id=run_id, reason=errors.from_call(error).reason)
        async with self._locked(kind, workload_id) as (_, workload):
            workload.stop_due = False

    async def _time_out(self, kind: type[Workload], workload_id: str) -> None:
        async with self._locked(kind, workload_id) as (session, workload):
            if workload.is_active:
                limit = f"{workload.time_limit_s} s"
                error = f"its {limit} were over {workload.unfinished}"
                await ending.fail(session, workload, error)
        self.wake()

    async def _look_at_run(self, kind: type[Workload], workload_id: str) -> None:
        async with self._context.sessions() as session:
            workload = await session.get_one(kind, workload_id)
        request = run_service_pb2.GetRunRequest(id=workload.run_id)
        try:
            run = await self._runs.GetRun(request, metadata=self._context.call_metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                code = error.code().name
                log.warning("run_not_readable", kind=kind.NOUN, id=workload_id, code=code)
                return
            run = run_pb2.Run(state=run_pb2.RUN_STATE_FAILED, last_error="the run was deleted")
        async with self._locked(kind, workload_id) as (session, workload):
            await ending.follow_run(session, workload, run.state, run.last_error or run.reason)

    @asynccontextmanager
    async def _locked(
        self, kind: type[Workload], workload_id: str
    ) -> AsyncIterator[tuple[AsyncSession, Workload]]:
        async with self._context.sessions.begin() as session:
            workload = await session.get_one(kind, workload_id, with_for_update=True)
            yield session, workload
        self._bell.ring(workload_id)


def _seconds(number: ColumnExpressionArgument[int] | int) -> Function[Any]:
    return func.make_interval(0, 0, 0, 0, 0, 0, number)
