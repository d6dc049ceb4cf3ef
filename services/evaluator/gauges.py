"""What stands in the evaluator's tables, as gauges: the queues, and what is out of line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge
from sqlalchemy import func, select

from kit.db import server_now
from kit.gauges import age_s, divergence, set_queue
from services.evaluator.models.agent import Build
from services.evaluator.models.evaluation import Evaluation
from services.evaluator.models.match import Match
from services.evaluator.models.workload import ACTIVE, State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.models.workload import Workload

RECONCILER = "evaluations"

evaluations = Gauge("elodrome_evaluations", "Evaluations that have not ended", ["state"])
matches = Gauge("elodrome_matches", "Matches that have not ended", ["state"])
builds = Gauge("elodrome_builds", "Builds of submissions that have not ended", ["state"])
_UNENDED: dict[str, tuple[type[Workload], Gauge]] = {
    "evaluations": (Evaluation, evaluations),
    "matches": (Match, matches),
    "builds": (Build, builds),
}


async def measure(session: AsyncSession) -> None:
    """Set the gauges of an evaluator."""
    oldest_s = 0.0
    for queue, (kind, gauge) in _UNENDED.items():
        unended = select(kind.state, func.count().label("number")).where(kind.state.in_(ACTIVE))
        found = await session.execute(unended.group_by(kind.state))
        counts = {row.state: row.number for row in found}
        for state in ACTIVE:
            gauge.labels(state).set(counts.get(state, 0))
        await set_queue(session, queue, kind.create_time, kind.state == State.PENDING)
        oldest_s = max(oldest_s, await _oldest_divergence_s(session, kind))
    divergence.labels(RECONCILER).set(oldest_s)


async def _oldest_divergence_s(session: AsyncSession, kind: type[Workload]) -> float:
    """Return for how long something has waited for the reconciler to act on it."""
    deadline = kind.create_time + func.make_interval(0, 0, 0, 0, 0, 0, kind.time_limit_s)
    unstarted = select(age_s(kind.create_time)).where(
        kind.state == State.PENDING, kind.run_id.is_(None)
    )
    unstopped = select(age_s(kind.update_time)).where(kind.stop_due)
    overdue = select(age_s(deadline)).where(kind.state.in_(ACTIVE), deadline < server_now())
    ages = (query.scalar_subquery() for query in (unstarted, unstopped, overdue))
    return await session.scalar(select(func.greatest(*ages))) or 0.0
