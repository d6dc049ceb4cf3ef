"""Brings runs and evaluations together again and again, whatever was lost in between.

Starting a run is idempotent on the evaluation's id, so a crash between the call and its record is
mended by calling again. An evaluation ends at the latest when its time is up.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import structlog
from elodrome.executor.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import func, select

from kit import errors, failpoint, trace
from kit.db import server_now
from kit.gauges import Pace
from services.evaluator import ending, gauges
from services.evaluator.models.evaluation import ACTIVE, Evaluation, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import ColumnExpressionArgument
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context
    from services.evaluator.bell import Bell

log = structlog.get_logger("evaluator.reconciler")

_MAX_RETRIES = 2
_RETRY_BACKOFF_S = 2.0
_TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
# How long an evaluation may stand still before its run is looked at.
_QUIET_S = 10


class Reconciler:
    """Starts, stops and looks after the runs of evaluations; `wake` makes it look at once."""

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
        for evaluation_id in await self._due(Evaluation.state == State.PENDING, run_id=False):
            await self._start_run(evaluation_id)
        for evaluation_id in await self._due(Evaluation.stop_due):
            await self._stop_run(evaluation_id)
        overdue = server_now() > Evaluation.create_time + func.make_interval(
            0, 0, 0, 0, 0, 0, Evaluation.time_limit_s
        )
        for evaluation_id in await self._due(Evaluation.state.in_(ACTIVE), overdue):
            await self._time_out(evaluation_id)
        quiet = Evaluation.update_time < server_now() - func.make_interval(
            0, 0, 0, 0, 0, 0, _QUIET_S
        )
        for evaluation_id in await self._due(Evaluation.state.in_(ACTIVE), quiet, run_id=True):
            await self._look_at_run(evaluation_id)

    async def _due(
        self, *conditions: ColumnExpressionArgument[bool], run_id: bool | None = None
    ) -> list[str]:
        query = select(Evaluation.id).where(*conditions).order_by(Evaluation.create_time).limit(200)
        if run_id is not None:
            query = query.where(Evaluation.run_id.is_not(None) == run_id)
        async with self._context.sessions() as session:
            return list(await session.scalars(query))

    async def _start_run(self, evaluation_id: str) -> None:
        async with self._context.sessions() as session:
            evaluation = await session.get_one(Evaluation, evaluation_id)
        config = Struct()
        config.update({"evaluation_id": evaluation.id})
        request = run_service_pb2.CreateRunRequest(
            request_id=evaluation.id,
            name=f"{evaluation.suite_name} v{evaluation.suite_version}",
            type=run_pb2.RUN_TYPE_EVALUATION,
            config=config,
            max_retries=_MAX_RETRIES,
            retry_backoff_s=_RETRY_BACKOFF_S,
            time_limit_s=evaluation.time_limit_s,
        )
        with trace.within(evaluation.traceparent):
            metadata = self._context.call_metadata(evaluation.run_owner_id)
            try:
                run = await self._runs.CreateRun(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await self._not_started(evaluation_id, error)
                return
        failpoint.hit("evaluation.after_create_run")
        async with self._locked(evaluation_id) as (_, evaluation):
            evaluation.run_id = run.id

    async def _not_started(self, evaluation_id: str, error: grpc.aio.AioRpcError) -> None:
        """Try again later if that may help; otherwise the evaluation has failed."""
        problem = errors.from_call(error)
        if problem.code in _TRANSIENT:
            log.warning("run_not_started", evaluation_id=evaluation_id, reason=problem.reason)
            return
        async with self._locked(evaluation_id) as (session, evaluation):
            if evaluation.is_active:
                reason = f"the executor refused its run: {problem.message}"
                await ending.fail(session, evaluation, reason)

    async def _stop_run(self, evaluation_id: str) -> None:
        async with self._context.sessions() as session:
            run_id = (await session.get_one(Evaluation, evaluation_id)).run_id
        # A run that was created without our knowing it learns from ClaimEvaluation that it is over.
        if run_id is not None:
            request = run_service_pb2.CancelRunRequest(id=run_id)
            try:
                await self._runs.CancelRun(request, metadata=self._context.call_metadata())
            except grpc.aio.AioRpcError as error:
                if error.code() in _TRANSIENT:
                    log.warning("run_not_stopped", evaluation_id=evaluation_id)
                    return
                # Any other refusal says that the run has ended or is gone, which is what we want.
                log.info("run_already_ended", run_id=run_id, reason=errors.from_call(error).reason)
        async with self._locked(evaluation_id) as (_, evaluation):
            evaluation.stop_due = False

    async def _time_out(self, evaluation_id: str) -> None:
        async with self._locked(evaluation_id) as (session, evaluation):
            if evaluation.is_active:
                done = f"{evaluation.episodes_done} of {evaluation.episodes_total} episodes"
                limit = f"{evaluation.time_limit_s} s"
                await ending.fail(session, evaluation, f"{done} were played within {limit}")
        self.wake()

    async def _look_at_run(self, evaluation_id: str) -> None:
        async with self._context.sessions() as session:
            evaluation = await session.get_one(Evaluation, evaluation_id)
        request = run_service_pb2.GetRunRequest(id=evaluation.run_id)
        try:
            run = await self._runs.GetRun(request, metadata=self._context.call_metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                log.warning("run_not_readable", evaluation_id=evaluation_id, code=error.code().name)
                return
            run = run_pb2.Run(state=run_pb2.RUN_STATE_FAILED, last_error="the run was deleted")
        async with self._locked(evaluation_id) as (session, evaluation):
            await ending.follow_run(session, evaluation, run.state, run.last_error or run.reason)

    @asynccontextmanager
    async def _locked(self, evaluation_id: str) -> AsyncIterator[tuple[AsyncSession, Evaluation]]:
        async with self._context.sessions.begin() as session:
            evaluation = await session.get_one(Evaluation, evaluation_id, with_for_update=True)
            yield session, evaluation
        self._bell.ring(evaluation_id)
