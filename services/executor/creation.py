"""Creating runs, once per request id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2
from sqlalchemy import func, select

from kit import errors, parse, trace
from kit.auth import principal
from kit.db import new_id
from services.executor import lifecycle, resources, run_config
from services.executor.models.run import Run, current_time
from services.executor.models.update import RunHead
from services.executor.states import RunState, RunType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from elodrome.executor.v1 import run_service_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.executor.settings import ExecutorSettings

MAX_NAME = 128
MAX_NOTES = 10_000
_OF_EVALUATOR = {RunType.MATCH: "CreateMatch", RunType.BUILD: "CreateSubmission"}
_MAX_TAGS = 32
_MAX_TAG = 64
_MAX_TIME_LIMIT_S = 2_592_000
_MAX_CPU_LIMIT_S = 31_536_000


@dataclass(frozen=True)
class Draft:
    """A run that was asked for: its columns as checked, and the digest of the request."""

    values: dict[str, Any]
    request_id: str | None
    request_hash: str


def read_type(value: int) -> RunType:
    """Return the type asked for; TRAINING when none is named."""
    if not value:
        return RunType.TRAINING
    return list(RunType)[parse.enum_value(value, "type", run_pb2.RunType) - 1]


def read_draft(request: run_service_pb2.CreateRunRequest, settings: ExecutorSettings) -> Draft:
    """Check a request to create a run; raise INVALID_ARGUMENT naming the field that is wrong."""
    run_type = read_type(request.type)
    if run_type is RunType.CERTIFICATION:
        raise errors.invalid_argument("type", "is started by CertifyRun alone")
    if run_type in _OF_EVALUATOR and "SERVICE" not in principal().roles:
        raise errors.invalid_argument("type", f"is started by {_OF_EVALUATOR[run_type]} alone")
    config = run_config.read_config(request)
    checked = run_config.complete(
        run_type,
        config,
        seed=request.seed if request.HasField("seed") else None,
        map_id=parse.optional_uuid(request.map_id, "map_id"),
    )
    values = {
        "type": run_type,
        "name": read_name(request.name) if request.name else "",
        "config": checked.config,
        "seed": checked.seed,
        "game": checked.game,
        "map_id": checked.map_id,
        "model_id": parse.optional_uuid(request.model_id, "model_id"),
        "group": read_group(request.group),
        "notes": read_notes(request.notes),
        "tags": read_tags(request.tags),
        "priority": read_priority(request.priority),
        "max_iterations": checked.iterations,
        **_read_limits(request, settings, run_type),
        **_read_resources(request, settings, run_type, checked.config),
    }
    return Draft(
        values,
        parse.optional_uuid(request.request_id, "request_id"),
        run_config.fingerprint(run_type, config),
    )


def _read_limits(
    request: run_service_pb2.CreateRunRequest, settings: ExecutorSettings, run_type: RunType
) -> dict[str, Any]:
    max_retries = request.max_retries if request.HasField("max_retries") else 2
    backoff_s = settings.run_retry_backoff_s
    if request.HasField("retry_backoff_s"):
        backoff_s = request.retry_backoff_s
    limit_s = 0 if run_type is RunType.EXTERNAL else settings.run_time_limit_s
    if request.HasField("time_limit_s"):
        limit_s = request.time_limit_s
    return {
        "max_retries": parse.integer(max_retries, "max_retries", minimum=0, maximum=20),
        "retry_backoff_s": parse.number(backoff_s, "retry_backoff_s", minimum=0, maximum=3600),
        "time_limit_s": parse.integer(
            limit_s, "time_limit_s", minimum=0, maximum=_MAX_TIME_LIMIT_S
        ),
        "cpu_limit_s": parse.integer(
            request.cpu_limit_s, "cpu_limit_s", minimum=0, maximum=_MAX_CPU_LIMIT_S
        ),
    }


def _read_resources(
    request: run_service_pb2.CreateRunRequest,
    settings: ExecutorSettings,
    run_type: RunType,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    is_training = run_type is RunType.TRAINING
    asked = resources.read(request.resources, is_training=is_training)
    worker_count = int(config.get("learners", 1)) if is_training else 1
    given = asked.or_else(resources.default(settings, is_training=is_training))
    resources.check_quota(given, worker_count, settings)
    return {**asked._asdict(), "worker_count": worker_count}


def read_name(value: str) -> str:
    """Return a name of 1 to 128 characters."""
    return parse.text(value, "name", max_length=MAX_NAME)


def read_group(value: str) -> str:
    """Return the name of an experiment, which may be empty."""
    return parse.text(value, "group", max_length=MAX_NAME, min_length=0)


def read_notes(value: str) -> str:
    """Return notes, which may be empty."""
    return parse.text(value, "notes", max_length=MAX_NOTES, min_length=0)


def read_priority(value: int) -> int:
    """Return a priority in -100..100."""
    return parse.integer(value, "priority", minimum=-100, maximum=100)


def read_tags(values: Sequence[str]) -> list[str]:
    """Return tags in the order given, each once."""
    if len(values) > _MAX_TAGS:
        raise errors.invalid_argument("tags", f"must be at most {_MAX_TAGS}", maximum=_MAX_TAGS)
    tags = (
        parse.text(tag, f"tags[{place}]", max_length=_MAX_TAG) for place, tag in enumerate(values)
    )
    return list(dict.fromkeys(tags))


async def create(
    session: AsyncSession,
    draft: Draft,
    settings: ExecutorSettings,
    *,
    parent_run_id: str | None = None,
) -> Run:
    """Create a run and its first attempt; a repeat of a request id gives the first one's run.

    Raises ALREADY_EXISTS when the request id was used for something else.
    """
    owner_id = principal().user_id
    earlier = await _created_before(session, owner_id, draft)
    if earlier is not None:
        return earlier
    now = await current_time(session)
    run_type: RunType = draft.values["type"]
    run = Run(
        **draft.values,
        id=new_id(),
        owner_id=owner_id,
        request_id=draft.request_id,
        request_hash=draft.request_hash,
        parent_run_id=parent_run_id,
    )
    run.name = run.name or f"{run_type.lower()} {now:%Y-%m-%d %H:%M:%S}"
    await add(session, run, now=now)
    if run_type is RunType.EXTERNAL:
        run.silent_after_time = now + timedelta(seconds=settings.external_expiry_s)
        await lifecycle.enter(session, run, RunState.RUNNING, now=now)
        run.begin_work(now)
    else:
        await lifecycle.queue(session, run, now=now)
    return run


async def add(session: AsyncSession, run: Run, *, now: datetime) -> None:
    """Store a new run, and tell of it."""
    run.traceparent = trace.current.get()
    session.add(run)
    await session.flush()
    session.add(RunHead(run_id=run.id))
    await session.flush()
    await lifecycle.begin(session, run, now=now)


async def _created_before(session: AsyncSession, owner_id: str, draft: Draft) -> Run | None:
    """Return the run of this request id; a concurrent request with the same id waits here."""
    if draft.request_id is None:
        return None
    turn = func.hashtextextended(f"{owner_id}:{draft.request_id}", 0)
    await session.execute(select(func.pg_advisory_xact_lock(turn)))
    query = select(Run).where(Run.owner_id == owner_id, Run.request_id == draft.request_id)
    run = (await session.scalars(query)).one_or_none()
    if run is not None and run.request_hash != draft.request_hash:
        raise errors.already_exists(
            "the request id belongs to a run with another config",
            reason="REQUEST_ID_REUSED",
            field="request_id",
            run_id=run.id,
        )
    return run
