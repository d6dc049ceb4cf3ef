"""What stands in the evaluator's tables, as gauges: the queue, and what is out of line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge
from sqlalchemy import func, select

from kit.db import server_now
from kit.gauges import age_s, divergence, set_queue
from services.evaluator.models.evaluation import ACTIVE, Evaluation, State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

QUEUE = "evaluations"
RECONCILER = "evaluations"

evaluations = Gauge("elodrome_evaluations", "Evaluations that have not ended", ["state"])


async def measure(session: AsyncSession) -> None:
    """Set the gauges of an evaluator."""
    unended = select(Evaluation.state, func.count().label("number")).where(
        Evaluation.state.in_(ACTIVE)
    )
    found = await session.execute(unended.group_by(Evaluation.state))
    counts = {row.state: row.number for row in found}
    for state in ACTIVE:
        evaluations.labels(state).set(counts.get(state, 0))
    await set_queue(session, QUEUE, Evaluation.create_time, Evaluation.state == State.PENDING)
    divergence.labels(RECONCILER).set(await _oldest_divergence_s(session))


async def _oldest_divergence_s(session: AsyncSession) -> float:
    """Return for how long something has waited for the reconciler to act on it."""
    deadline = Evaluation.create_time + func.make_interval(
        0, 0, 0, 0, 0, 0, Evaluation.time_limit_s
    )
    unstarted = select(age_s(Evaluation.create_time)).where(
        Evaluation.state == State.PENDING, Evaluation.run_id.is_(None)
    )
    unstopped = select(age_s(Evaluation.update_time)).where(Evaluation.stop_due)
    overdue = select(age_s(deadline)).where(Evaluation.state.in_(ACTIVE), deadline < server_now())
    ages = (query.scalar_subquery() for query in (unstarted, unstopped, overdue))
    return await session.scalar(select(func.greatest(*ages))) or 0.0
