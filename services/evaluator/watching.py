"""The watch streams of workloads: what changed since the cursor, and the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from elodrome.evaluator.v1 import evaluation_service_pb2

from kit import errors
from services.evaluator.models.evaluation import Evaluation
from services.evaluator.models.workload import Workload, current_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from kit.db import Sessions
    from services.evaluator.bell import Bell

Watched = TypeVar("Watched", bound=Workload)

# Changes made by another process are seen after this long at most.
_POLL_S = 1.0
_MAX_DIGITS = 18


@dataclass(frozen=True)
class Change(Generic[Watched]):
    """A workload as it stood at `time`; news to who has heard all up to the cursor before."""

    workload: Watched
    time: datetime
    is_news: bool

    @property
    def cursor(self) -> str:
        """What to resume after it with."""
        return str(self.workload.revision)

    @property
    def is_last(self) -> bool:
        """Whether nothing will come after it."""
        return not self.workload.is_active


def parse_cursor(cursor: str) -> int:
    """Return the revision after which updates are wanted; 0 for an empty cursor."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise errors.invalid_argument("cursor", "must be a cursor of this stream")
    return int(cursor)


async def changes(
    sessions: Sessions, bell: Bell, kind: type[Watched], about: str, revision: int
) -> AsyncIterator[Change[Watched]]:
    """Stream changes after `revision`; the end is told even to those who have heard all else."""
    while True:
        async with sessions() as session:
            workload = await session.get_one(kind, about)
            now = await current_time(session)
        change = Change(workload, now, is_news=workload.revision > revision)
        if change.is_news or change.is_last:
            yield change
        if change.is_last:
            return
        revision = workload.revision
        await bell.wait(about, _POLL_S)


async def watch(
    sessions: Sessions, bell: Bell, evaluation_id: str, revision: int
) -> AsyncIterator[evaluation_service_pb2.WatchEvaluationResponse]:
    """Stream the progress of an evaluation after `revision`, and its end."""
    async for change in changes(sessions, bell, Evaluation, evaluation_id, revision):
        if change.is_news:
            yield _progress(change)
        if change.is_last:
            yield evaluation_service_pb2.WatchEvaluationResponse(
                cursor=change.cursor,
                done=evaluation_service_pb2.EvaluationDone(evaluation=change.workload.to_proto()),
            )


def _progress(change: Change[Evaluation]) -> evaluation_service_pb2.WatchEvaluationResponse:
    evaluation = change.workload
    return evaluation_service_pb2.WatchEvaluationResponse(
        cursor=change.cursor,
        progress=evaluation_service_pb2.EvaluationProgress(
            state=evaluation.wire_state,
            percent=evaluation.percent,
            episodes_done=evaluation.episodes_done,
            episodes_total=evaluation.episodes_total,
            estimated_remaining_s=evaluation.remaining_s(change.time),
        ),
    )
