"""Having a TRAINING run proved: another run repeats a part of it and compares the bytes."""

from __future__ import annotations

import secrets
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from elodrome.registry.v1.checkpoint_pb2 import CHECKPOINT_STATE_COMMITTED, Checkpoint

from kit import errors
from kit.db import new_id
from services.executor import creation, lifecycle
from services.executor.checkpoints import checkpoints_of
from services.executor.models.run import Run
from services.executor.run_config import MAX_SEED
from services.executor.states import RunType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context

Interval = tuple[Checkpoint, Checkpoint]


async def draw_interval(context: Context, run: Run, seed: int | None) -> tuple[Interval, int]:
    """Choose the interval to repeat; answers it with the seed that chose it.

    Raises FAILED_PRECONDITION / NOT_CERTIFIABLE where the run has nothing to repeat.
    """
    check_certifiable(run)
    known = [
        checkpoint
        async for checkpoint in checkpoints_of(context, run.id)
        if checkpoint.state == CHECKPOINT_STATE_COMMITTED
    ]
    intervals = intervals_between(known)
    if not intervals:
        raise _refusal("the run has fewer than two checkpoints", run)
    if seed is None:
        seed = secrets.randbelow(MAX_SEED + 1)
    return intervals[seed % len(intervals)], seed


def intervals_between(checkpoints: Sequence[Checkpoint]) -> list[Interval]:
    """Pair each checkpoint with the next one, by iteration."""
    ordered = sorted(checkpoints, key=lambda one: one.iteration)
    return [(start, end) for start, end in pairwise(ordered) if start.iteration < end.iteration]


async def start(
    session: AsyncSession, run: Run, interval: Interval, seed: int, *, now: datetime
) -> None:
    """Queue the run that repeats the interval, unless one is under way; `run` is locked."""
    check_certifiable(run)
    if run.certification_run_id is not None:
        former = await session.get(Run, run.certification_run_id)
        if former is not None and not former.is_settled:
            return
    certification = _certification_of(run, interval, seed)
    await creation.add(session, certification, now=now)
    await lifecycle.queue(session, certification, now=now)
    run.certification_run_id = certification.id


def check_certifiable(run: Run) -> None:
    """Raise FAILED_PRECONDITION unless it is a TRAINING run that has settled."""
    if run.type is not RunType.TRAINING:
        raise _refusal(f"a run of type {run.type} has no checkpoints of its own", run)
    if not run.is_settled:
        raise _refusal(f"a run that is {run.state} may still write checkpoints", run)


def _certification_of(run: Run, interval: Interval, seed: int) -> Run:
    start, end = interval
    return Run(
        id=new_id(),
        type=RunType.CERTIFICATION,
        name=f"certification of {run.name}"[: creation.MAX_NAME],
        owner_id=run.owner_id,
        parent_run_id=run.id,
        config={"run_id": run.id, "start": _described(start), "end": _described(end)},
        seed=seed,
        game=run.game,
        map_id=run.map_id,
        priority=run.priority,
        max_iterations=end.iteration - start.iteration,
        # A part of the run needs no more than the whole.
        max_retries=run.max_retries,
        retry_backoff_s=run.retry_backoff_s,
        time_limit_s=run.time_limit_s,
        cpu_limit_s=run.cpu_limit_s,
        **run.resources._asdict(),
    )


def _described(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checkpoint_id": checkpoint.id,
        "iteration": checkpoint.iteration,
        "step": checkpoint.steps,
        "sha256": checkpoint.artifact.sha256,
    }


def _refusal(why: str, run: Run) -> errors.RpcError:
    return errors.failed_precondition(why, reason="NOT_CERTIFIABLE", id=run.id)
