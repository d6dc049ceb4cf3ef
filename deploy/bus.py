"""The event bus as one table: which streams exist, who reads them, what each service may do."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nats
from nats.js import api
from nats.js.errors import NotFoundError

if TYPE_CHECKING:
    from nats.js.manager import JetStreamManager

ADMIN = "bus_admin"

_DAY_S = 24 * 3600
_MAX_AGE_S = 7 * _DAY_S
_DUPLICATE_WINDOW_S = 120
_MAX_STREAM_BYTES = 1 << 30


@dataclass(frozen=True)
class Stream:
    """One stream per proto package; its subjects are `<package>.<Event>.<id of the subject>`."""

    name: str
    package: str
    publisher: str

    @property
    def subjects(self) -> str:
        """The wildcard that covers every event of the package."""
        return f"{self.package}.>"


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer, named after the service that reads it."""

    stream: str
    service: str


STREAMS = (
    Stream("ACCOUNTS", "elodrome.accounts.v1", "gateway"),
    Stream("REGISTRY", "elodrome.registry.v1", "registry"),
    Stream("EXECUTOR", "elodrome.executor.v1", "executor"),
    Stream("EVALUATOR", "elodrome.evaluator.v1", "evaluator"),
    Stream("SESSIONS", "elodrome.sessions.v1", "sessions"),
)
CONSUMERS = (
    Consumer("EVALUATOR", "registry"),
    Consumer("REGISTRY", "evaluator"),
    Consumer("EXECUTOR", "evaluator"),
    Consumer("REGISTRY", "sessions"),
)
SERVICES = tuple(stream.publisher for stream in STREAMS)


@dataclass(frozen=True)
class Permissions:
    """What one bus user may publish and subscribe to; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(service: str) -> Permissions:
    """Return the allow-list of a service: its own events, its own consumers, its own inbox."""
    publish = [stream.subjects for stream in STREAMS if stream.publisher == service]
    for consumer in CONSUMERS:
        if consumer.service == service:
            name = f"{consumer.stream}.{consumer.service}"
            publish += [
                f"$JS.API.CONSUMER.MSG.NEXT.{name}",
                f"$JS.API.CONSUMER.INFO.{name}",
                f"$JS.ACK.{name}.>",
            ]
    return Permissions(tuple(publish), (f"{inbox_prefix(service)}.>",))


def admin_permissions() -> Permissions:
    """Return the allow-list of the user that creates streams and consumers and reads no event."""
    return Permissions(
        ("$JS.API.INFO", "$JS.API.STREAM.*.*", "$JS.API.CONSUMER.*.>"),
        (f"{inbox_prefix(ADMIN)}.>",),
    )


def inbox_prefix(user: str) -> str:
    """Return the prefix of a user's reply subjects, which nobody else may read."""
    return f"_INBOX_{user}"


async def create(url: str, *, user: str, password: str) -> None:
    """Bring every stream and consumer to the table above; safe to repeat, keeps messages."""
    client = await nats.connect(
        url,
        user=user,
        password=password,
        inbox_prefix=inbox_prefix(user).encode(),
        allow_reconnect=False,
        connect_timeout=5,
    )
    try:
        manager = client.jsm()
        for stream in STREAMS:
            await _create_stream(manager, stream)
        for consumer in CONSUMERS:
            await manager.add_consumer(consumer.stream, _consumer_config(consumer))
    finally:
        await client.close()


async def _create_stream(manager: JetStreamManager, stream: Stream) -> None:
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


def _consumer_config(consumer: Consumer) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=consumer.service,
        ack_policy=api.AckPolicy.EXPLICIT,
        deliver_policy=api.DeliverPolicy.ALL,
        max_deliver=8,
        ack_wait=30,
        max_ack_pending=256,
    )


if __name__ == "__main__":
    asyncio.run(
        create(
            os.environ["ELODROME_NATS_URL"],
            user=ADMIN,
            password=os.environ["ELODROME_NATS_ADMIN_PASSWORD"],
        )
    )
