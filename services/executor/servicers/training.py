"""TrainingService: training in compact calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.executor.v1 import (
    run_pb2,
    run_service_pb2,
    training_service_pb2,
    training_service_pb2_grpc,
)
from sqlalchemy import func, select

from kit import errors
from kit.auth import principal
from services.executor import creation, lifecycle, points
from services.executor.models.metric import MetricChunk, MetricSeries
from services.executor.models.run import Run, lock_run
from services.executor.servicers.views import locked_run, show, visible_run
from services.executor.states import SETTLED, RunState, RunType

if TYPE_CHECKING:
    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context

    Call = grpc.aio.ServicerContext

_MAX_POINTS = 100_000
_LOSS = "loss"


class TrainingServicer(training_service_pb2_grpc.TrainingServiceServicer):
    """Starts, stops and reads training runs."""

    def __init__(self, context: Context) -> None:
        self._sessions = context.sessions
        self._settings = context.settings

    async def StartTraining(
        self, request: training_service_pb2.StartTrainingRequest, _call: Call
    ) -> training_service_pb2.StartTrainingResponse:
        """Start a training run on a map."""
        draft = creation.read_draft(_as_creation(request), self._settings)
        async with self._sessions.begin() as session:
            run = await creation.create(session, draft, self._settings)
            shown = await show(session, run)
        return training_service_pb2.StartTrainingResponse(task_id=run.id, run=shown)

    async def StopTraining(
        self, request: training_service_pb2.StopTrainingRequest, _call: Call
    ) -> training_service_pb2.StopTrainingResponse:
        """Stop one run, or every training run of the caller's own."""
        run_ids = [request.run_id] if request.run_id else await self._own_unsettled()
        stopped = [
            run_id for run_id in run_ids if await self._stop(run_id, is_named=bool(request.run_id))
        ]
        return training_service_pb2.StopTrainingResponse(
            stopped_count=len(stopped), run_ids=stopped
        )

    async def _own_unsettled(self) -> list[str]:
        # Whom the caller may act for plays no part here: "everything" means one's own.
        query = select(Run.id).where(
            Run.owner_id == principal().user_id,
            Run.type == RunType.TRAINING,
            Run.state.not_in(SETTLED),
        )
        async with self._sessions() as session:
            return list(await session.scalars(query.order_by(Run.create_time)))

    async def _stop(self, run_id: str, *, is_named: bool) -> bool:
        async with self._sessions.begin() as session:
            if is_named:
                run, now = await locked_run(session, run_id, field="run_id")
            else:
                run, now = await lock_run(session, run_id)
                if run.is_settled or run.requested_state in (RunState.STOPPED, RunState.CANCELLED):
                    return False
            await lifecycle.request(session, run, RunState.STOPPED, now=now)
        return True

    async def GetTrainingStatus(
        self, request: training_service_pb2.GetTrainingStatusRequest, _call: Call
    ) -> training_service_pb2.TrainingStatus:
        """Tell how far a run is."""
        async with self._sessions() as session:
            run = await show(session, await visible_run(session, request.run_id, field="run_id"))
        return _status(run)

    async def GetTrainingLog(
        self, request: training_service_pb2.GetTrainingLogRequest, _call: Call
    ) -> training_service_pb2.TrainingLog:
        """Read what was logged at every step."""
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
            entries = await _entries(session, run.id)
            query = select(MetricSeries).where(
                MetricSeries.run_id == run.id, MetricSeries.name == _LOSS
            )
            loss = (await session.scalars(query)).one_or_none()
        log = training_service_pb2.TrainingLog(run_id=run.id)
        log.iterations.extend(
            training_service_pb2.TrainingLogEntry(step=step, values=entries[step])
            for step in sorted(entries)
        )
        if loss is not None:
            _summarize(log, loss)
        return log


def _as_creation(
    request: training_service_pb2.StartTrainingRequest,
) -> run_service_pb2.CreateRunRequest:
    creation_request = run_service_pb2.CreateRunRequest(
        request_id=request.request_id,
        name=request.name,
        type=run_pb2.RUN_TYPE_TRAINING,
        config=request.params,
        model_id=request.model_id,
        map_id=request.map_id,
    )
    if request.HasField("max_iterations"):
        creation_request.config["max_iterations"] = request.max_iterations
    if request.action_combinations:
        creation_request.config["action_combinations"] = request.action_combinations
    return creation_request


def _status(run: run_pb2.Run) -> training_service_pb2.TrainingStatus:
    progress = run.progress
    status = training_service_pb2.TrainingStatus(
        run_id=run.id,
        state=run.state,
        current_iteration=progress.current_iteration,
        max_iterations=progress.max_iterations,
        progress_percent=progress.progress_percent,
        elapsed_seconds=progress.elapsed_s,
        latest_metrics=run.latest_metrics,
        config=run.config,
        last_error=run.last_error,
    )
    if progress.HasField("estimated_remaining_s"):
        status.estimated_remaining_seconds = progress.estimated_remaining_s
    return status


async def _entries(session: AsyncSession, run_id: str) -> dict[int, dict[str, float]]:
    counting = select(func.sum(MetricSeries.point_count)).where(MetricSeries.run_id == run_id)
    if (await session.scalar(counting) or 0) > _MAX_POINTS:
        raise errors.out_of_range(
            f"the run logged more than {_MAX_POINTS} values; read its metric history",
            reason="TOO_LARGE",
            maximum=_MAX_POINTS,
        )
    query = (
        select(
            MetricSeries.name,
            func.array_send(MetricChunk.steps),
            func.array_send(MetricChunk.values),
        )
        .join(MetricSeries, MetricSeries.id == MetricChunk.series_id)
        .where(MetricChunk.run_id == run_id)
    )
    entries: dict[int, dict[str, float]] = {}
    for name, sent_steps, sent_values in await session.execute(query):
        steps = points.read_steps(sent_steps).tolist()
        values = points.read_values(sent_values).tolist()
        for step, value in zip(steps, values, strict=True):
            entries.setdefault(step, {})[name] = value
    return entries


def _summarize(log: training_service_pb2.TrainingLog, loss: MetricSeries) -> None:
    log.final_loss = loss.last_value
    finite = loss.point_count - loss.nonfinite_count
    if finite and loss.min_value is not None and loss.max_value is not None:
        log.min_loss = loss.min_value
        log.max_loss = loss.max_value
        log.mean_loss = loss.value_sum / finite
