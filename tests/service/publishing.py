"""Events put on the bus as the service that owns them would."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, ClassVar

from kit.bus import Bus
from kit.settings import ServiceSettings

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from deploy.laptop.broker import RunningBroker


class _Publisher(ServiceSettings):
    service: ClassVar[str] = "evaluator"


async def publish(
    broker: RunningBroker, service: str, event: Message, *, about: str, event_id: str = ""
) -> None:
    """Publish an event with the credentials of a service."""
    settings = _Publisher(
        database_url="postgresql://",
        keys_dir="/",
        nats_url=broker.url,
        nats_user=service,
        nats_password=broker.password(service),
    )
    bus = Bus(settings)
    running = asyncio.create_task(bus.run())
    await bus.until_connected()
    await bus.publish(
        f"{event.DESCRIPTOR.full_name}.{about}",
        event.SerializeToString(),
        event_id=event_id or str(uuid.uuid4()),
        request_id="a-request",
    )
    running.cancel()
