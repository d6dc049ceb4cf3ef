"""The registry's events and those it follows, over the bus."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import events_pb2 as evaluator_events
from elodrome.registry.v1 import events_pb2
from sqlalchemy import text

from kit import outbox
from tests.service.publishing import publish
from tests.service.registry_service import a_registry
from tests.waiting import eventually

if TYPE_CHECKING:
    from deploy.laptop.broker import RunningBroker
    from tests.tokens import Tokens

Environment = "Callable[[str], dict[str, Any]]"


async def test_events_go_out_and_decisions_come_in(
    service_environment: Environment, tokens: Tokens, nats_server: RunningBroker
) -> None:
    async with a_registry(service_environment, tokens, nats_url=nats_server.url) as registry:
        version = await registry.a_version(await registry.a_model())
        sent = "SELECT count(*) FROM outbox WHERE sent_time IS NOT NULL"

        async def is_sent() -> bool:
            async with registry.running.context.sessions() as session:
                return await session.scalar(text(sent)) == 2

        await eventually(is_sent)
        event = evaluator_events.GateDecided(
            decision_id=str(uuid.uuid4()),
            model_id=version.model_id,
            checkpoint_id=version.checkpoint_id,
            passed=True,
        )
        event.decide_time.GetCurrentTime()
        await publish(nats_server, "evaluator", event, about=event.decision_id)

        async def is_known() -> bool:
            return await registry.count("decisions") == 1

        await eventually(is_known)
        promotion = await registry.promote(version, decision_id=event.decision_id)
        assert promotion.decision_id == event.decision_id


def test_every_outgoing_event_fits_the_outbox() -> None:
    event = events_pb2.CheckpointSaved(
        metrics={f"{number:0128d}": 1.0 for number in range(200)},
    )
    assert event.ByteSize() < outbox.MAX_PAYLOAD_BYTES / 4
