"""What a service tells of itself beyond its calls: its loops, its connections, what waits.

What stands in tables is read from there every few seconds by a loop of its own, so that the gauges
tell of work that nobody does too, and equal what a query would say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from prometheus_client import Gauge
from sqlalchemy import func, select

from kit.db import server_now
from kit.inbox import DeadLetter
from kit.outbox import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import ColumnElement, ColumnExpressionArgument
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

    from kit.bus import Bus, Consumer
    from kit.db import Sessions

    Measure = Callable[[AsyncSession], Awaitable[None]]

MEASURE_S = 5.0
"""Seconds between two readings of what stands in tables."""

_TICK_S = 0.25
_LAG_WINDOW_S = 30.0

ready = Gauge("elodrome_ready", "Whether the database answers and the service takes calls: 0 or 1")
loop_passed = Gauge(
    "elodrome_loop_passed_timestamp_seconds",
    "When a background loop last went over all that it looks after",
    ["loop"],
)
loop_interval = Gauge(
    "elodrome_loop_interval_seconds", "How long a background loop means to rest", ["loop"]
)
loop_lag = Gauge(
    "elodrome_loop_lag_seconds",
    "How late the event loop was with what was due: the worst of the last 30 seconds",
)
divergence = Gauge(
    "elodrome_divergence_oldest_seconds",
    "Age of the oldest thing that is not as it should be, by the loop that mends it; 0 for none",
    ["loop"],
)
queue_waiting = Gauge("elodrome_queue_waiting", "Things that wait for their turn", ["queue"])
queue_oldest = Gauge(
    "elodrome_queue_oldest_seconds", "How long the first in a queue has waited", ["queue"]
)
outbox_waiting = Gauge("elodrome_outbox_events", "Events that are not yet published")
outbox_oldest = Gauge(
    "elodrome_outbox_oldest_event_seconds", "Age of the oldest event that is not yet published"
)
dead_letters = Gauge("elodrome_dead_letters", "Events put aside because they cannot be applied")
consumer_pending = Gauge(
    "elodrome_consumer_pending_events",
    "Events of a stream not yet applied here",
    ["stream"],
)
connections_in_use = Gauge(
    "elodrome_database_connections_in_use", "Connections of the pool that somebody works with"
)
connections_limit = Gauge(
    "elodrome_database_connections_limit", "Connections that the pool may open"
)


class Pace:
    """How often a loop means to go over everything, and when it last did.

    It is made before the loop first runs, so that one which never comes to an end shows too.
    """

    def __init__(self, loop: str, interval_s: float) -> None:
        self.interval_s = interval_s
        self._passed = loop_passed.labels(loop)
        loop_interval.labels(loop).set(interval_s)
        self.passed()

    def passed(self) -> None:
        """Note that the loop has gone over everything."""
        self._passed.set_to_current_time()


class Lag:
    """Watches how late the event loop is; read from the thread that answers a scrape.

    While the loop is blocked the lag grows there too, since it needs no help of the loop.
    """

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=int(_LAG_WINDOW_S / _TICK_S))
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()
        loop_lag.set_function(self.seconds)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self._due = self._clock() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._late.append(self._clock() - self._due)

    def seconds(self) -> float:
        """Return the worst of the last 30 seconds, the tick that is due included."""
        return max(0.0, self._clock() - self._due, *list(self._late))


class Measuring:
    """Reads what stands in the tables of a service, and what its consumers have not applied."""

    def __init__(
        self,
        sessions: Sessions,
        bus: Bus | None,
        *,
        consumers: Sequence[Consumer] = (),
        measures: Sequence[Measure] = (),
    ) -> None:
        self._sessions = sessions
        self._bus = bus
        self._consumers = consumers
        self._measures = (_measure_events, *measures)
        self._pace = Pace("measure", MEASURE_S)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await self.measure()
            self._pace.passed()
            await asyncio.sleep(self._pace.interval_s)

    async def measure(self) -> None:
        """Set every gauge to what is the case now; what the bus knows only while it answers."""
        async with self._sessions() as session:
            for each in self._measures:
                await each(session)
        if self._bus is None or not self._bus.connected:
            return
        for consumer in self._consumers:
            pending = await self._bus.pending(consumer.stream, consumer.durable)
            if pending is not None:
                consumer_pending.labels(consumer.stream).set(pending)


def watch_pool(engine: AsyncEngine, limit: int) -> None:
    """Let scrapes see how many connections are in use, of `limit` at most."""
    pool: Any = engine.sync_engine
    connections_limit.set(limit)
    connections_in_use.set_function(pool.pool.checkedout)


def age_s(moment: ColumnExpressionArgument[Any]) -> ColumnElement[float]:
    """Return SQL for the seconds since the earliest moment of the rows; 0 without any."""
    seconds = func.extract("epoch", server_now() - func.min(moment))
    return func.greatest(0.0, func.coalesce(seconds, 0.0))


async def set_queue(
    session: AsyncSession,
    queue: str,
    since: ColumnExpressionArgument[Any],
    *waiting: ColumnExpressionArgument[bool],
) -> None:
    """Set depth and age of a queue: the rows that are `waiting`, each since its `since`."""
    query = select(func.count(), age_s(since)).where(*waiting)
    count, oldest_s = (await session.execute(query)).one()
    queue_waiting.labels(queue).set(count)
    queue_oldest.labels(queue).set(oldest_s)


async def _measure_events(session: AsyncSession) -> None:
    unsent = select(func.count(), age_s(OutboxEvent.create_time))
    unsent = unsent.where(OutboxEvent.sent_time.is_(None))
    count, oldest_s = (await session.execute(unsent)).one()
    outbox_waiting.set(count)
    outbox_oldest.set(oldest_s)
    buried = await session.scalar(select(func.count()).select_from(DeadLetter))
    dead_letters.set(buried or 0)
