"""RunService: the owner's side of runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import (
    provenance_pb2,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from sqlalchemy import delete, select

from kit import errors, page, parse
from kit.auth import principal
from services.executor import certification, creation, lifecycle, run_config, watch
from services.executor.models.job import Job
from services.executor.models.messages import struct
from services.executor.models.provenance import Provenance
from services.executor.models.run import Run
from services.executor.servicers import deletion
from services.executor.servicers.views import locked_run, show, show_all, show_visible, visible_run
from services.executor.states import RunState, RunType
from trainer.config import SCHEMA_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc
    from google.protobuf.struct_pb2 import Value
    from sqlalchemy import Select

    from kit.server import Context
    from services.executor.drivers.driver import Driver

    Call = grpc.aio.ServicerContext

_MAX_ERROR = 4000
_ORDERS = ("create_time", "update_time", "priority", "step")
_EVERYBODY = frozenset({"ADMIN", "OPERATOR"})


_NOT_RETRIED = (RunType.EVALUATION, RunType.EXTERNAL, RunType.MATCH, RunType.BUILD)


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """Creates, steers, reads and follows runs."""

    def __init__(self, context: Context, driver: Driver) -> None:
        self._context = context
        self._sessions = context.sessions
        self._settings = context.settings
        self._driver = driver

    async def CreateRun(
        self, request: run_service_pb2.CreateRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Create a run, once per request id."""
        draft = creation.read_draft(request, self._settings)
        async with self._sessions.begin() as session:
            run = await creation.create(session, draft, self._settings)
            return await show(session, run)

    async def GetRun(self, request: run_service_pb2.GetRunRequest, _call: Call) -> run_pb2.Run:
        """Read a run."""
        async with self._sessions() as session:
            return await show_visible(session, request.id)

    async def ListRuns(
        self, request: run_service_pb2.ListRunsRequest, _call: Call
    ) -> run_service_pb2.ListRunsResponse:
        """List the caller's runs; everybody's for administrators and operators."""
        column, descending = page.order(request.order_by, _ORDERS, default="create_time desc")
        async with self._sessions() as session:
            runs, token, total = await page.list_page(
                session,
                _listed(request),
                Run,
                request,
                convert=_same,
                by=getattr(Run, column),
                descending=descending,
            )
            items = await show_all(session, runs)
        return run_service_pb2.ListRunsResponse(items=items, next_page_token=token, total=total)

    async def UpdateRun(
        self, request: run_service_pb2.UpdateRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Change what people call a run and how it is filed."""
        async with self._sessions.begin() as session:
            run, _now = await locked_run(session, request.id)
            if request.HasField("config"):
                raise errors.failed_precondition(
                    "a config cannot change after creation; clone the run with overrides",
                    reason="CONFIG_IMMUTABLE",
                    id=run.id,
                )
            _update(run, request)
            return await show(session, run)

    async def DeleteRun(
        self, request: run_service_pb2.DeleteRunRequest, _call: Call
    ) -> run_service_pb2.DeleteRunResponse:
        """Delete a settled run that no model version came from."""
        async with self._sessions() as session:
            await visible_run(session, request.id)
        await deletion.check_unreferenced(self._context, parse.uuid(request.id, "id"))
        async with self._sessions.begin() as session:
            run, _now = await locked_run(session, request.id)
            jobs = list(await session.scalars(select(Job).where(Job.run_id == run.id)))
            deletion.check_settled(run, jobs)
            await session.execute(delete(Run).where(Run.id == run.id))
        for job in jobs:
            await self._driver.discard(job.name)
        return run_service_pb2.DeleteRunResponse()

    async def StopRun(self, request: run_service_pb2.StopRunRequest, _call: Call) -> run_pb2.Run:
        """End a run early, with a final checkpoint."""
        return await self._request(request.id, RunState.STOPPED)

    async def CancelRun(
        self, request: run_service_pb2.CancelRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Give a run up at once."""
        return await self._request(request.id, RunState.CANCELLED)

    async def PauseRun(self, request: run_service_pb2.PauseRunRequest, _call: Call) -> run_pb2.Run:
        """Free the slot of a run after a checkpoint."""
        return await self._request(request.id, RunState.PAUSED)

    async def _request(self, run_id: str, state: RunState) -> run_pb2.Run:
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, run_id)
            if state is RunState.PAUSED and run.type is RunType.EXTERNAL:
                raise errors.failed_precondition(
                    "the platform does not hold the run's script", reason="NOT_PAUSABLE", id=run.id
                )
            await lifecycle.request(session, run, state, now=now)
            return await show(session, run)

    async def ResumeRun(
        self, request: run_service_pb2.ResumeRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Queue a paused run again."""
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, request.id)
            if run.state is not RunState.PAUSED:
                _refuse_move(run, RunState.PENDING)
            await lifecycle.requeue(session, run, now=now)
            return await show(session, run)

    async def RetryRun(self, request: run_service_pb2.RetryRunRequest, _call: Call) -> run_pb2.Run:
        """Queue a failed or stopped run again."""
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, request.id)
            if run.type in _NOT_RETRIED:
                raise errors.failed_precondition(
                    f"a run of type {run.type} is not tried again here",
                    reason="NOT_RETRYABLE",
                    id=run.id,
                )
            if run.state is RunState.PAUSED:
                _refuse_move(run, RunState.PENDING)
            await lifecycle.requeue(session, run, now=now)
            return await show(session, run)

    async def CertifyRun(
        self, request: run_service_pb2.CertifyRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Have a settled TRAINING run proved."""
        seed = None
        if request.HasField("seed"):
            seed = parse.integer(request.seed, "seed", minimum=0, maximum=run_config.MAX_SEED)
        async with self._sessions() as session:
            run = await visible_run(session, request.id)
        interval, seed = await certification.draw_interval(self._context, run, seed)
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, request.id)
            await certification.start(session, run, interval, seed, now=now)
            return await show(session, run)

    async def CloneRun(self, request: run_service_pb2.CloneRunRequest, _call: Call) -> run_pb2.Run:
        """Create a run with the config of another one."""
        overrides = parse.mapping(request.overrides, "overrides")
        async with self._sessions.begin() as session:
            original = await visible_run(session, request.id)
            clone = _clone_of(original, overrides, request)
            draft = creation.read_draft(clone, self._settings)
            run = await creation.create(session, draft, self._settings, parent_run_id=original.id)
            return await show(session, run)

    async def FinishRun(
        self, request: run_service_pb2.FinishRunRequest, _call: Call
    ) -> run_pb2.Run:
        """Settle an EXTERNAL run."""
        state = _FINAL_STATES.get(request.state)
        if state is None:
            raise errors.invalid_argument("state", "must be COMPLETED or FAILED")
        error = parse.text(request.error, "error", max_length=_MAX_ERROR, min_length=0)
        async with self._sessions.begin() as session:
            run, now = await locked_run(session, request.id)
            if run.type is not RunType.EXTERNAL:
                raise errors.failed_precondition(
                    "the run has a worker of its own", reason="NOT_EXTERNAL", id=run.id
                )
            await lifecycle.enter(session, run, state, now=now, reason="REPORTED", error=error)
            return await show(session, run)

    async def DiffRuns(
        self, request: run_service_pb2.DiffRunsRequest, _call: Call
    ) -> run_service_pb2.DiffRunsResponse:
        """Tell in which config keys two runs differ."""
        async with self._sessions() as session:
            left = await visible_run(session, request.id)
            right = await visible_run(session, request.other_id, field="other_id")
        return run_service_pb2.DiffRunsResponse(
            differences=[
                run_service_pb2.ConfigDifference(key=key, left=_value(before), right=_value(after))
                for key, before, after in run_config.differences(left.config, right.config)
            ]
        )

    async def GetConfigSchema(
        self, _request: run_service_pb2.GetConfigSchemaRequest, _call: Call
    ) -> run_service_pb2.GetConfigSchemaResponse:
        """Read the JSON Schema of a TRAINING config."""
        schema = json.loads(SCHEMA_PATH.read_text())
        return run_service_pb2.GetConfigSchemaResponse(schema=struct(schema))

    async def ListJobs(
        self, request: run_service_pb2.ListJobsRequest, _call: Call
    ) -> run_service_pb2.ListJobsResponse:
        """List the attempts of a run."""
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
            query = select(Job).where(Job.run_id == run.id)
            items, token, total = await page.list_page(
                session, query, Job, request, convert=Job.to_proto
            )
        return run_service_pb2.ListJobsResponse(items=items, next_page_token=token, total=total)

    async def GetProvenance(
        self, request: run_service_pb2.GetProvenanceRequest, _call: Call
    ) -> provenance_pb2.Provenance:
        """Read what the worker of an attempt was made of."""
        parse.integer(request.attempt, "attempt", minimum=0, maximum=1 << 31)
        async with self._sessions() as session:
            run = await visible_run(session, request.run_id, field="run_id")
            query = select(Provenance).where(Provenance.run_id == run.id)
            if request.attempt:
                query = query.where(Provenance.attempt == request.attempt)
            latest = query.order_by(Provenance.attempt.desc()).limit(1)
            found = await session.scalar(latest)
        if found is None:
            raise errors.not_found("provenance", run.id)
        return found.to_proto()

    async def WatchRun(
        self, request: run_service_pb2.WatchRunRequest, _call: Call
    ) -> AsyncIterator[run_service_pb2.WatchRunResponse]:
        """Follow a run from a cursor to its end."""
        async with self._sessions() as session:
            run = await visible_run(session, request.id)
        after = watch.read_cursor(request.cursor, run.id)
        async for message in watch.follow_run(self._context, run.id, after):
            yield message


_FINAL_STATES = {
    run_pb2.RUN_STATE_UNSPECIFIED: RunState.COMPLETED,
    run_pb2.RUN_STATE_COMPLETED: RunState.COMPLETED,
    run_pb2.RUN_STATE_FAILED: RunState.FAILED,
}
_STATES: dict[int, RunState] = {state.to_proto(): state for state in RunState}


def _same(run: Run) -> Run:
    return run


def _listed(request: run_service_pb2.ListRunsRequest) -> Select[Any]:
    """Return the query for the runs a request asks for and its caller may see."""
    query: Select[Any] = select(Run)
    caller = principal()
    if not caller.roles & _EVERYBODY and (caller.user_id or caller.kind != "service"):
        query = query.where(Run.owner_id == caller.user_id)
    for column, value in (
        (Run.group, request.group),
        (Run.game, request.game),
        (Run.name, request.name),
        (Run.owner_id, request.owner_id),
        (Run.model_id, parse.optional_uuid(request.model_id, "model_id")),
        (Run.map_id, parse.optional_uuid(request.map_id, "map_id")),
    ):
        if value:
            query = query.where(column == value)
    if request.states:
        # Each once: a condition of a million names would keep the database busy for seconds.
        wanted = [
            _STATES[parse.enum_value(state, "states", run_pb2.RunState)]
            for state in set(request.states)
        ]
        query = query.where(Run.state.in_(wanted))
    if request.type:
        query = query.where(Run.type == creation.read_type(request.type))
    if request.tags:
        query = query.where(Run.tags.contains(creation.read_tags(request.tags)))
    return _in_time(query, request)


def _in_time(query: Select[Any], request: run_service_pb2.ListRunsRequest) -> Select[Any]:
    if request.HasField("created_from"):
        query = query.where(Run.create_time >= parse.moment(request.created_from, "created_from"))
    if request.HasField("created_before"):
        moment = parse.moment(request.created_before, "created_before")
        query = query.where(Run.create_time < moment)
    return query


def _update(run: Run, request: run_service_pb2.UpdateRunRequest) -> None:
    if request.HasField("name"):
        run.name = creation.read_name(request.name)
    if request.HasField("notes"):
        run.notes = creation.read_notes(request.notes)
    if request.HasField("group"):
        run.group = creation.read_group(request.group)
    if request.HasField("tags"):
        run.tags = creation.read_tags(request.tags.items)
    if request.HasField("priority"):
        run.priority = creation.read_priority(request.priority)


def _refuse_move(run: Run, state: RunState) -> None:
    raise errors.failed_precondition(
        f"a run that is {run.state} cannot become {state} this way",
        reason="ILLEGAL_TRANSITION",
        current=run.state,
        requested=state,
    )


def _clone_of(
    original: Run, overrides: dict[str, object], request: run_service_pb2.CloneRunRequest
) -> run_service_pb2.CreateRunRequest:
    merged = {**original.config, **overrides}
    config = {key: value for key, value in merged.items() if value is not None}
    # The config of a TRAINING run holds its seed; the others keep it beside the config.
    seed = None if original.type is RunType.TRAINING else original.seed
    if request.HasField("seed"):
        seed = request.seed
    return run_service_pb2.CreateRunRequest(
        request_id=request.request_id,
        name=request.name or f"{original.name} (clone)"[: creation.MAX_NAME],
        type=original.type.to_proto(),
        config=struct(config),
        seed=seed,
        model_id=original.model_id,
        group=original.group,
        notes=original.notes,
        tags=original.tags,
        priority=original.priority,
        max_retries=original.max_retries,
        retry_backoff_s=original.retry_backoff_s,
        time_limit_s=original.time_limit_s,
        cpu_limit_s=original.cpu_limit_s,
        resources=original.resources.to_proto(),
    )


def _value(value: object) -> Value | None:
    return None if value is None else struct({"value": value}).fields["value"]
