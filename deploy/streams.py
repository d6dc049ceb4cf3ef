"""Brings a NATS server to the table of `deploy.bus`; apart from it, because its client is large."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import nats
from nats.js import api
from nats.js.errors import NotFoundError
from pydantic import Field, ValidationError

from deploy import bus
from kit.settings import Settings, explain

if TYPE_CHECKING:
    from nats.js.manager import JetStreamManager

_DAY_S = 24 * 3600
_MAX_AGE_S = 7 * _DAY_S
_DUPLICATE_WINDOW_S = 120
_MAX_STREAM_BYTES = 1 << 30
# How long a delivery that was lost holds up its stream. Consumers tell of progress every 3 s.
_ACK_WAIT_S = 10


class BusAdmin(Settings):
    """Where the bus is and what its administrator proves to be one with."""

    nats_url: str
    """`nats://host:port` of the server."""
    nats_admin_password: str = Field(repr=False)
    """Password of the user `bus_admin`."""


async def create(url: str, *, user: str, password: str) -> None:
    """Bring every stream and consumer to the table of the bus; safe to repeat, keeps messages."""
    client = await nats.connect(
        url,
        user=user,
        password=password,
        inbox_prefix=bus.inbox_prefix(user).encode(),
        allow_reconnect=False,
        connect_timeout=5,
    )
    try:
        manager = client.jsm()
        for stream in bus.STREAMS:
            await _create_stream(manager, stream)
        for consumer in bus.CONSUMERS:
            await manager.add_consumer(consumer.stream, _consumer_config(consumer))
    finally:
        await client.close()


async def _create_stream(manager: JetStreamManager, stream: bus.Stream) -> None:
    config = api.StreamConfig(
        name=stream.name,
        subjects=[stream.subjects],
        storage=api.StorageType.FILE,
        max_age=_MAX_AGE_S,
        max_bytes=_MAX_STREAM_BYTES,
        discard=api.DiscardPolicy.OLD,
        duplicate_window=_DUPLICATE_WINDOW_S,
    )
    try:
        await manager.stream_info(stream.name)
    except NotFoundError:
        await manager.add_stream(config)
    else:
        await manager.update_stream(config)


def _consumer_config(consumer: bus.Consumer) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=consumer.service,
        ack_policy=api.AckPolicy.EXPLICIT,
        deliver_policy=api.DeliverPolicy.ALL,
        # One under way at a time: events take effect in order, also after a lost delivery.
        max_ack_pending=1,
        ack_wait=_ACK_WAIT_S,
        # The consumer gives an event up once it is a dead letter. A limit here would drop one
        # without a trace when its last delivery is lost.
        max_deliver=-1,
    )


def main() -> None:
    """Create what is missing at the server that the environment names, as its administrator."""
    try:
        admin = BusAdmin.load()
    except ValidationError as error:
        sys.exit(explain("streams", error))
    asyncio.run(create(admin.nats_url, user=bus.ADMIN, password=admin.nats_admin_password))


if __name__ == "__main__":
    main()
