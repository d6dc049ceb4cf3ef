"""What the evaluator does about events: it follows its runs and evaluates checkpoints by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from elodrome.executor.v1 import events_pb2 as executor_events_pb2
from elodrome.executor.v1 import run_pb2
from elodrome.registry.v1 import events_pb2 as registry_events_pb2
from sqlalchemy import func, or_, select

from kit.bus import Consumer
from services.evaluator import ending
from services.evaluator.models.agent import Build
from services.evaluator.models.checkpoint import SavedCheckpoint
from services.evaluator.models.evaluation import Evaluation, Trigger
from services.evaluator.models.match import Match
from services.evaluator.models.suite import Suite, SuiteVersion
from services.evaluator.models.workload import State
from services.evaluator.starting import Subject, lock_id, repeatable_id, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.bell import Bell

log = structlog.get_logger("evaluator.consumers")

_KINDS = {
    run_pb2.RUN_TYPE_EVALUATION: Evaluation,
    run_pb2.RUN_TYPE_MATCH: Match,
    run_pb2.RUN_TYPE_BUILD: Build,
}


def consumers(bell: Bell) -> list[Consumer]:
    """Return the evaluator's consumers, one per stream it reads."""
    runs = RunEvents(bell)
    return [
        Consumer(
            durable="evaluator",
            stream="EXECUTOR",
            handlers={executor_events_pb2.RunStateChanged: runs.state_changed},
        ),
        Consumer(
            durable="evaluator",
            stream="REGISTRY",
            handlers={
                registry_events_pb2.CheckpointSaved: checkpoint_saved,
                registry_events_pb2.VersionCreated: version_created,
            },
        ),
    ]


class RunEvents:
    """Follows the runs of workloads; other runs are none of its business."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    async def state_changed(
        self, session: AsyncSession, event: executor_events_pb2.RunStateChanged
    ) -> None:
        """Learn the run of a workload, and its end if it has ended."""
        kind = _KINDS.get(event.type)
        if kind is None or not event.request_id:
            return
        workload = await session.get(kind, event.request_id, with_for_update=True)
        if workload is None or workload.run_owner_id != event.owner_id:
            log.info("run_of_nobody", run_id=event.run_id, request_id=event.request_id)
            return
        if workload.run_id is None:
            workload.run_id = event.run_id
            workload.stop_due = workload.state in {State.FAILED, State.CANCELLED}
        if workload.run_id == event.run_id:
            reason = event.last_error or event.reason
            await ending.follow_run(session, workload, event.state, reason)
            self._bell.ring(workload.id)


async def checkpoint_saved(
    session: AsyncSession, event: registry_events_pb2.CheckpointSaved
) -> None:
    """Remember the checkpoint, and evaluate it where a suite asks for that."""
    await lock_id(session, event.run_id)
    # Damaged and uploaded again, a checkpoint is committed a second time.
    if await session.get(SavedCheckpoint, event.checkpoint_id):
        return
    before = await session.scalar(
        select(func.count()).where(SavedCheckpoint.run_id == event.run_id)
    )
    checkpoint = SavedCheckpoint(
        id=event.checkpoint_id,
        run_id=event.run_id,
        owner_id=event.owner_id,
        sha256=event.sha256,
        game=event.signature.game,
        scenario=event.signature.scenario,
        ordinal=(before or 0) + 1,
    )
    session.add(checkpoint)

    def wanted(suite: Suite) -> bool:
        by_count = suite.auto_every > 0 and checkpoint.ordinal % suite.auto_every == 0
        return by_count or (suite.auto_best and event.is_best)

    await _evaluate_where(session, checkpoint, wanted)


async def version_created(session: AsyncSession, event: registry_events_pb2.VersionCreated) -> None:
    """Evaluate a checkpoint that was published, where a suite asks for that."""
    checkpoint = await session.get(SavedCheckpoint, event.checkpoint_id)
    if checkpoint is None:
        log.warning("published_checkpoint_unknown", checkpoint_id=event.checkpoint_id)
        return
    await _evaluate_where(session, checkpoint, lambda suite: suite.auto_published)


async def _evaluate_where(
    session: AsyncSession, checkpoint: SavedCheckpoint, wanted: Callable[[Suite], bool]
) -> None:
    query = (
        select(Suite, SuiteVersion)
        .join(
            SuiteVersion,
            (SuiteVersion.suite_id == Suite.id) & (SuiteVersion.number == Suite.newest_version),
        )
        .where(or_(Suite.auto_every > 0, Suite.auto_best, Suite.auto_published))
        .where(or_(Suite.auto_everyone, Suite.owner_id == checkpoint.owner_id))
    )
    place = (checkpoint.game, checkpoint.scenario)
    for suite, version in await session.execute(query):
        places = {(row["game"], row["scenario"]) for row in version.scenarios}
        if place in places and wanted(suite):
            await start(
                session,
                suite,
                version,
                Subject(checkpoint.id, checkpoint.sha256, checkpoint.owner_id),
                owner_id=checkpoint.owner_id,
                evaluation_id=repeatable_id("checkpoint", version.id, checkpoint.id),
                trigger=Trigger.CHECKPOINT,
            )
