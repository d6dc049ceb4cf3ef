"""What a service tells of itself equals what its tables say, also when nobody does the work."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from elodrome.evaluator.v1.events_pb2 import GateDecided
from prometheus_client import REGISTRY
from sqlalchemy import text

from kit import inbox, server
from kit.bus import Consumer
from kit.gauges import Lag, Measuring, Pace
from kit.inbox import Letter
from tests.service.kit_events import decided, emitting
from tests.service.kit_probe import EvaluatorProbe, RegistryProbe
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

Environment = "Callable[[str], dict[str, Any]]"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
async def busless(service_environment: Environment) -> AsyncIterator[server.Context]:
    """An evaluator whose events stay in its outbox."""
    settings = EvaluatorProbe(**service_environment("evaluator") | {"nats_url": ""})
    async with server.running(settings, lambda _: server.Parts([])) as running:
        yield running.context


async def test_the_outbox_is_told_as_it_stands(busless: server.Context) -> None:
    measuring = Measuring(busless.sessions, None)
    await measuring.measure()
    assert (value("elodrome_outbox_events"), value("elodrome_outbox_oldest_event_seconds")) == (
        0,
        0,
    )
    await decided(busless, "a", "b", "c")
    async with busless.sessions.begin() as session:
        older = "UPDATE outbox SET create_time = create_time - interval '90 s' WHERE sequence = 1"
        await session.execute(text(older))
    await measuring.measure()
    assert value("elodrome_outbox_events") == 3
    assert 90 <= (value("elodrome_outbox_oldest_event_seconds") or 0) < 120


async def test_dead_letters_are_told_until_they_are_gone(busless: server.Context) -> None:
    measuring = Measuring(busless.sessions, None)
    await inbox.bury(busless.sessions, Letter("1", "a.b", b"", ""), "cannot")
    await measuring.measure()
    assert value("elodrome_dead_letters") == 1
    async with busless.sessions.begin() as session:
        await session.execute(text("DELETE FROM dead_letters"))
    await measuring.measure()
    assert value("elodrome_dead_letters") == 0


async def test_events_that_are_not_applied_yet_are_told(service_environment: Environment) -> None:
    applying, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_session: AsyncSession, _event: GateDecided) -> None:
        applying.set()
        await go_on.wait()

    consumer = Consumer(durable="registry", stream="EVALUATOR", handlers={GateDecided: wait})
    settings = RegistryProbe(**service_environment("registry"))
    parts = server.Parts([], consumers=[consumer])
    async with (
        emitting(service_environment) as evaluator,
        server.running(settings, lambda _: parts) as registry,
    ):
        context = registry.context
        measuring = Measuring(context.sessions, context.bus, consumers=[consumer])

        async def pending() -> float | None:
            await measuring.measure()
            return value("elodrome_consumer_pending_events", stream="EVALUATOR")

        await decided(evaluator, "a", "b", "c")
        await asyncio.wait_for(applying.wait(), 20)

        async def is_three() -> bool:
            return await pending() == 3

        async def is_none() -> bool:
            return await pending() == 0

        await eventually(is_three)
        go_on.set()
        await eventually(is_none)


async def test_connections_in_use_are_told_at_every_scrape(busless: server.Context) -> None:
    assert value("elodrome_database_connections_limit") == busless.settings.database_pool_size
    async with busless.engine.connect(), busless.engine.connect():
        assert (value("elodrome_database_connections_in_use") or 0) >= 2


async def test_a_blocked_event_loop_shows_while_it_is_blocked_and_after() -> None:
    watch = asyncio.create_task(Lag().run())
    await asyncio.sleep(0)
    seen: list[float] = []
    blocked = threading.Event()

    def scrape() -> None:
        # From a thread, as Prometheus' server reads; the loop is stuck meanwhile.
        give_up = threading.Event()
        while (lag := value("elodrome_loop_lag_seconds") or 0) < 0.5:
            give_up.wait(0.01)
        seen.append(lag)
        blocked.set()

    thread = threading.Thread(target=scrape)
    thread.start()
    assert blocked.wait(10)
    thread.join()
    assert seen[0] >= 0.5
    await eventually(lambda: (value("elodrome_loop_lag_seconds") or 0) >= 0.5)
    watch.cancel()


def test_a_loop_that_never_comes_round_is_known_by_its_start() -> None:
    pace = Pace("toy", 30)
    start = value("elodrome_loop_passed_timestamp_seconds", loop="toy") or 0
    assert start > 0
    assert value("elodrome_loop_interval_seconds", loop="toy") == 30
    pace.passed()
    assert (value("elodrome_loop_passed_timestamp_seconds", loop="toy") or 0) >= start
