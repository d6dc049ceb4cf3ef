"""Remember what the evaluator decided."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import events_pb2

from kit.bus import Consumer
from services.registry.models import decision as decisions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


async def on_gate_decided(session: AsyncSession, event: events_pb2.GateDecided) -> None:
    """Keep the decision as evidence for a promotion; one without a model proves nothing here."""
    if not event.model_id or not event.checkpoint_id:
        return
    await decisions.record(
        session,
        decision_id=event.decision_id,
        model_id=event.model_id,
        checkpoint_id=event.checkpoint_id,
        passed=event.passed,
        decide_time=event.decide_time.ToDatetime(tzinfo=UTC),
    )


def consumers() -> list[Consumer]:
    """Return what the registry reads from the bus."""
    return [
        Consumer(
            durable="registry",
            stream="EVALUATOR",
            handlers={events_pb2.GateDecided: on_gate_decided},
        )
    ]
