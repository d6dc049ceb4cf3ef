"""Events take effect in the order of their stream, whatever happens to a delivery."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import psycopg
import pytest
from nats.js import api
from nats.js.errors import FetchTimeoutError
from prometheus_client import REGISTRY
from sqlalchemy import exc

from deploy import bus as table
from deploy import streams
from deploy.laptop.broker import start_nats
from kit import bus, db
from kit.bus import MAX_DELIVERIES, Bus
from kit.inbox import DeadLetter, Letter, expect_death
from tests.service.kit_events import (
    Environment,
    Recorder,
    consuming,
    count,
    decided,
    effects_of,
    emitting,
    pair,
)
from tests.service.kit_probe import RegistryProbe
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from elodrome.evaluator.v1.events_pb2 import GateDecided
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from sqlalchemy.ext.asyncio import AsyncSession

    from deploy.laptop.broker import RunningBroker


@pytest.fixture
def settings(service_environment: Environment) -> RegistryProbe:
    """What the registry and whoever takes its deliveries connect with."""
    return RegistryProbe(**service_environment("registry"))


@asynccontextmanager
async def deliveries(settings: RegistryProbe) -> AsyncIterator[JetStreamContext.PullSubscription]:
    """Take what is delivered to the registry, from a connection that nobody else uses."""
    connection = Bus(settings)
    running = asyncio.create_task(connection.run())
    await connection.until_connected()
    yield await connection.subscribe("EVALUATOR", "registry")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def one(subscription: JetStreamContext.PullSubscription) -> Msg:
    """Return the next delivery."""
    (message,) = await subscription.fetch(1, timeout=5, heartbeat=1)
    return message


async def fail_often(settings: RegistryProbe, times: int) -> Letter:
    """Refuse the event at the head of the stream so many times; return it."""
    async with deliveries(settings) as subscription:
        for _ in range(times):
            message = await one(subscription)
            await message.nak()
    return Letter(message.headers["Nats-Msg-Id"], message.subject, message.data, "")


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_lost_delivery_holds_back_what_comes_after_it(
    service_environment: Environment, settings: RegistryProbe
) -> None:
    recorder = Recorder()
    async with emitting(service_environment) as evaluator:
        await decided(evaluator, "d0", "d1", "d2")
        async with deliveries(settings) as subscription:
            lost = await one(subscription)
            with pytest.raises(FetchTimeoutError):
                await subscription.fetch(1, timeout=2, heartbeat=0.5)
            # The request above may still be open at the server, and would get the event again.
            await subscription.unsubscribe()
            await lost.nak()
        async with consuming(settings, recorder) as registry:
            assert await effects_of(registry, events=3) == ["d0", "d1", "d2"]


async def test_a_failing_event_holds_up_its_stream_and_says_so(
    service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_RETRY_AFTER_S", (0.3,))
    recorder = Recorder()
    recorder.failures["d0"] = 3
    async with pair(service_environment, recorder) as (evaluator, registry):
        await decided(evaluator, "d0", "d1")
        await eventually(lambda: metric("elodrome_event_deliveries", stream="EVALUATOR") in {2, 3})
        assert recorder.seen == []
        assert await effects_of(registry, events=2) == ["d0", "d1"]
        await eventually(lambda: metric("elodrome_event_deliveries", stream="EVALUATOR") == 0)


async def test_the_pauses_of_a_failing_event_are_bounded() -> None:
    assert len(bus._RETRY_AFTER_S) == MAX_DELIVERIES - 1
    assert sum(bus._RETRY_AFTER_S) < 30
    assert 3 * bus._PROGRESS_S < streams._ACK_WAIT_S


async def test_an_event_whose_last_delivery_was_lost_is_tried_once_more(
    service_environment: Environment, settings: RegistryProbe
) -> None:
    async with emitting(service_environment) as evaluator:
        await decided(evaluator, "d0", "d1")
        await fail_often(settings, MAX_DELIVERIES)
        async with consuming(settings, Recorder()) as registry:
            assert await effects_of(registry, events=2) == ["d0", "d1"]
            assert await count(registry.sessions, DeadLetter) == 0


async def test_an_event_that_ended_the_process_at_its_last_attempt_is_not_tried_again(
    service_environment: Environment, settings: RegistryProbe
) -> None:
    async with emitting(service_environment) as evaluator:
        await decided(evaluator, "deadly", "d1")
        deadly = await fail_often(settings, MAX_DELIVERIES)
        engine = db.open_engine(settings.database_url)
        assert await expect_death(db.Sessions(engine), deadly)
        await engine.dispose()
        async with consuming(settings, Recorder()) as registry:
            assert await effects_of(registry, events=1) == ["d1"]
            assert await count(registry.sessions, DeadLetter) == 1


class Away(Recorder):
    """Handlers whose database is gone for the first few times."""

    times = 2

    async def gate_decided(self, session: AsyncSession, event: GateDecided) -> None:
        """Fail as a lost connection does, then write the effect."""
        if self.times:
            self.times -= 1
            raise exc.OperationalError("", {}, psycopg.OperationalError("server closed"))
        await super().gate_decided(session, event)


async def test_an_event_waits_for_the_database_longer_than_a_handler_may_take(
    service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_HANDLER_LIMIT_S", 1)
    labels = {"event": "elodrome.evaluator.v1.GateDecided", "outcome": "failed"}
    before = metric("elodrome_events_total", **labels)
    async with pair(service_environment, Away()) as (evaluator, registry):
        await decided(evaluator, "d0", "d1")
        assert await effects_of(registry, events=2) == ["d0", "d1"]
    assert metric("elodrome_events_total", **labels) == before


@pytest.fixture
def older_bus(tmp_path: Path) -> Iterator[RunningBroker]:
    """A NATS server without streams yet."""
    running = start_nats(tmp_path, streams=False)
    yield running
    running.stop()


async def administrator(broker: RunningBroker) -> Client:
    return await nats.connect(
        broker.url,
        user=table.ADMIN,
        password=broker.password(table.ADMIN),
        inbox_prefix=table.inbox_prefix(table.ADMIN).encode(),
        allow_reconnect=False,
    )


async def test_consumers_of_an_older_install_are_brought_up_to_date(
    older_bus: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many_at_once(consumer: table.Consumer) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            durable_name=consumer.service,
            ack_policy=api.AckPolicy.EXPLICIT,
            max_deliver=8,
            ack_wait=30,
            max_ack_pending=256,
        )

    access = {"user": table.ADMIN, "password": older_bus.password(table.ADMIN)}
    with monkeypatch.context() as before:
        before.setattr(streams, "_consumer_config", many_at_once)
        await streams.create(older_bus.url, **access)
    await streams.create(older_bus.url, **access)
    client = await administrator(older_bus)
    for consumer in table.CONSUMERS:
        info = await client.jsm().consumer_info(consumer.stream, consumer.service)
        assert info.config.max_ack_pending == 1
        assert info.config.max_deliver == -1
        assert info.config.ack_wait == streams._ACK_WAIT_S
    await client.close()
