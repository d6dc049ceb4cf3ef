"""The watch stream of an evaluation: what changed since the cursor, and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import evaluation_service_pb2

from kit import errors
from services.evaluator.models.evaluation import current_time, get_evaluation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from kit.db import Sessions
    from services.evaluator.bell import Bell
    from services.evaluator.models.evaluation import Evaluation

# Changes made by another process are seen after this long at most.
_POLL_S = 1.0
_MAX_DIGITS = 18


def parse_cursor(cursor: str) -> int:
    """Return the revision after which updates are wanted; 0 for an empty cursor."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise errors.invalid_argument("cursor", "must be a cursor of this stream")
    return int(cursor)


async def watch(
    sessions: Sessions, bell: Bell, evaluation_id: str, revision: int
) -> AsyncIterator[evaluation_service_pb2.WatchEvaluationResponse]:
    """Stream updates after `revision`; the end is told even to those who have heard all else."""
    while True:
        async with sessions() as session:
            evaluation = await get_evaluation(session, evaluation_id)
            now = await current_time(session)
        if evaluation.is_active:
            if evaluation.revision > revision:
                yield _progress(evaluation, now)
        else:
            if evaluation.revision > revision:
                yield _progress(evaluation, now)
            yield evaluation_service_pb2.WatchEvaluationResponse(
                cursor=str(evaluation.revision),
                done=evaluation_service_pb2.EvaluationDone(evaluation=evaluation.to_proto()),
            )
            return
        revision = evaluation.revision
        await bell.wait(evaluation_id, _POLL_S)


def _progress(
    evaluation: Evaluation, now: datetime
) -> evaluation_service_pb2.WatchEvaluationResponse:
    return evaluation_service_pb2.WatchEvaluationResponse(
        cursor=str(evaluation.revision),
        progress=evaluation_service_pb2.EvaluationProgress(
            state=evaluation.state.wire_name,
            percent=evaluation.percent,
            episodes_done=evaluation.episodes_done,
            episodes_total=evaluation.episodes_total,
            estimated_remaining_s=evaluation.remaining_s(now),
        ),
    )
