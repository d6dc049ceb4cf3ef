"""The connection to NATS JetStream: publishing for the outbox, and consumers that apply events."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import structlog
from nats import errors as nats_errors
from nats.js import errors as js_errors
from prometheus_client import Counter, Gauge

from kit import db, failpoint, inbox, trace
from kit.inbox import Handlers, Letter
from kit.outbox import BusUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from kit.db import Sessions
    from kit.errors import RpcError
    from kit.inbox import Handler
    from kit.settings import ServiceSettings

MAX_DELIVERIES = 8
"""An event that failed this often is a dead letter."""

_EVENT_ID = "Nats-Msg-Id"
_REQUEST_ID = "X-Request-Id"
_CONNECT_TIMEOUT_S = 3
_MAX_CONNECT_BACKOFF_S = 5
_PUBLISH_TIMEOUT_S = 5
_FETCH_TIMEOUT_S = 5
_HEARTBEAT_S = 1
_MAX_SILENT_FETCHES = 3
# A third of what the bus waits for an acknowledgement, see deploy/streams.py.
_PROGRESS_S = 3
_HANDLER_LIMIT_S = 15
_FORGET_S = 3600
# A failing event holds up its stream, so that the pauses together stay below half a minute.
_RETRY_AFTER_S = (1, 1, 2, 2, 5, 5, 10)

log = structlog.get_logger("kit.bus")
connected = Gauge("elodrome_bus_connected", "Whether the event bus is connected: 0 or 1")
bus_errors = Counter("elodrome_bus_errors", "Errors the bus client reported", ["kind"])
events_handled = Counter("elodrome_events", "Events consumed", ["event", "outcome"])
event_deliveries = Gauge(
    "elodrome_event_deliveries",
    "How often the event at the head of a stream was delivered: 0 when none is, from 2 held up",
    ["stream"],
)


class Bus:
    """One service's connection; `run` keeps it up, and everything else may fail meanwhile."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._url = settings.nats_url
        self._user = settings.nats_user
        self._password = settings.nats_password
        self._client: Client | None = None
        self._up = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the server answers at the moment, as far as is known."""
        return self._client is not None and self._client.is_connected

    async def run(self) -> None:
        """Connect, and again when the client gives up for good, until cancelled."""
        while True:
            await self._probe()
            closed = asyncio.Event()
            client = await self._open(closed)
            self._client = client
            self._mark(up=True)
            log.info("bus_connected")
            try:
                _heed_cancellation()
                await closed.wait()
                log.error("bus_connection_closed")
            finally:
                self._client = None
                self._mark(up=False)
                if not client.is_closed:
                    await client.close()

    async def until_connected(self) -> None:
        """Wait for the connection."""
        await self._up.wait()

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        event_id: str,
        request_id: str,
        traceparent: str = "",
    ) -> int | None:
        """Store one event; return its number in the stream, or None for one stored before.

        Raises BusUnavailableError where the server did not confirm it, in which case it may still
        have been stored: repeat with the same id, never with a new one.
        """
        if self._client is None or not self._client.is_connected:
            raise BusUnavailableError("not connected")
        headers = {_EVENT_ID: event_id}
        if request_id:
            headers[_REQUEST_ID] = request_id
        if traceparent:
            headers[trace.HEADER] = traceparent
        try:
            stored = await self._client.jetstream().publish(
                subject, payload, timeout=_PUBLISH_TIMEOUT_S, headers=headers
            )
        except (nats_errors.Error, OSError) as error:
            raise BusUnavailableError(f"{subject}: {error!r}") from error
        return None if stored.duplicate else stored.seq

    async def subscribe(self, stream: str, durable: str) -> JetStreamContext.PullSubscription:
        """Bind to a consumer that exists; raises BusUnavailableError without a connection."""
        if self._client is None:
            raise BusUnavailableError("not connected")
        return await self._client.jetstream().pull_subscribe_bind(durable=durable, stream=stream)

    async def pending(self, stream: str, durable: str) -> int | None:
        """Return how many events a consumer has not acknowledged; None when nobody says so."""
        if self._client is None:
            return None
        try:
            info = await self._client.jetstream().consumer_info(stream, durable)
        except (nats_errors.Error, OSError, TimeoutError):
            return None
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def _probe(self) -> None:
        """Retry until the server lets us in.

        A client that may reconnect would keep its first connect to itself for ever, a refused
        password included; one that may not tells what is wrong.
        """
        backoff_s = 0.1
        while True:
            try:
                client = await nats.connect(
                    self._url, allow_reconnect=False, error_cb=_report, **self._identity()
                )
            except (nats_errors.Error, OSError, TimeoutError) as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                log.warning("bus_unavailable", error=repr(error), retry_s=backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _MAX_CONNECT_BACKOFF_S)
            else:
                await client.close()
                return

    async def _open(self, closed: asyncio.Event) -> Client:
        async def on_closed() -> None:
            closed.set()

        async def on_disconnected() -> None:
            if self._client is not None:
                self._mark(up=False)
                log.warning("bus_disconnected")

        async def on_reconnected() -> None:
            self._mark(up=True)
            log.info("bus_reconnected")

        async with asyncio.timeout(_CONNECT_TIMEOUT_S * 2):
            return await nats.connect(
                self._url,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                ping_interval=10,
                max_outstanding_pings=2,
                error_cb=_report,
                closed_cb=on_closed,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                **self._identity(),
            )

    def _identity(self) -> dict[str, object]:
        return {
            "user": self._user or None,
            "password": self._password or None,
            "name": self._user,
            "inbox_prefix": f"_INBOX_{self._user}".encode(),
            "connect_timeout": _CONNECT_TIMEOUT_S,
        }

    def _mark(self, *, up: bool) -> None:
        connected.set(up)
        if up:
            self._up.set()
        else:
            self._up.clear()


async def _report(error: Exception) -> None:
    """Log what the client only tells its callback: a refused subject looks like a timeout."""
    refused = "permissions violation" in str(error).lower()
    bus_errors.labels("permission" if refused else "other").inc()
    if refused:
        log.error("bus_permission_refused", error=str(error))
    else:
        log.warning("bus_error", error=repr(error))


def _heed_cancellation() -> None:
    """Raise the cancellation of this task where it was lost.

    nats-py connects by asyncio.wait_for, which before Python 3.12 returns where what it waits for
    is done at the moment of the cancellation.
    """
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError


class Consumer:
    """Applies the events of one stream, each once and in order, through `handlers` by class.

    A handler is `async (session, event) -> None` and shares its transaction with the inbox row;
    the event is acknowledged after the commit, and the bus holds back its successors until then.
    A handler that raises, or takes longer than 15 s, is tried again after growing pauses, eight
    times in all; then the event becomes a dead letter and the stream goes on. Events without a
    handler are acknowledged and dropped.
    """

    def __init__(
        self, *, durable: str, stream: str, handlers: dict[type[Message], Handler]
    ) -> None:
        self.durable = durable
        self.stream = stream
        self.handlers = Handlers(handlers)

    async def run(self, bus: Bus, sessions: Sessions) -> None:
        """Consume until cancelled; raises where the bus fails, to be started again."""
        await bus.until_connected()
        subscription = await bus.subscribe(self.stream, self.durable)
        next_forget = time.monotonic()
        silent = 0
        try:
            while silent < _MAX_SILENT_FETCHES:
                if time.monotonic() >= next_forget:
                    await inbox.forget_old(sessions)
                    next_forget = time.monotonic() + _FORGET_S
                try:
                    messages = await subscription.fetch(
                        1, timeout=_FETCH_TIMEOUT_S, heartbeat=_HEARTBEAT_S
                    )
                except js_errors.FetchTimeoutError:
                    silent = 0
                except TimeoutError:
                    # Not even a heartbeat: the request was lost, with a restart of the server.
                    silent += 1
                    await bus.until_connected()
                else:
                    silent = 0
                    for message in messages:
                        await self._receive(message, sessions)
        finally:
            await subscription.unsubscribe()

    async def _receive(self, message: Msg, sessions: Sessions) -> None:
        letter = _letter(message)
        if letter.event_name not in self.handlers:
            await message.ack()
            return
        delivery = message.metadata.num_delivered
        event_deliveries.labels(self.stream).set(delivery)
        # Written beforehand, because an event that kills the process leaves no time later.
        if delivery >= MAX_DELIVERIES and not await inbox.expect_death(sessions, letter):
            await self._give_up(message, letter)
            return
        try:
            async with _in_progress(message):
                fresh = await self._apply(sessions, letter)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the event is kept
            await self._fail(message, sessions, letter, error)
            return
        failpoint.hit("consumer.after_commit")
        await message.ack()
        self._settled(letter, "applied" if fresh else "repeated")

    async def _apply(self, sessions: Sessions, letter: Letter) -> bool:
        """Wait out a database that is away: that is no fault of the event and costs no delivery."""
        while True:
            try:
                async with asyncio.timeout(_HANDLER_LIMIT_S):
                    return await self.handlers.apply(sessions, letter, self.durable)
            except Exception as error:
                if not _is_away(db.problem(error)):
                    raise
                log.warning("event_waits_for_database", stream=self.stream, subject=letter.subject)
                await asyncio.sleep(1)

    async def _fail(
        self, message: Msg, sessions: Sessions, letter: Letter, error: Exception
    ) -> None:
        delivery = message.metadata.num_delivered
        if delivery >= MAX_DELIVERIES:
            log.error("event_failed", subject=letter.subject, delivery=delivery, exc_info=error)
            await inbox.bury(sessions, letter, repr(error))
            await self._give_up(message, letter)
            return
        pause_s = _RETRY_AFTER_S[min(delivery, len(_RETRY_AFTER_S)) - 1]
        log.error(
            "event_failed",
            subject=letter.subject,
            delivery=delivery,
            holds_up=self.stream,
            retry_s=pause_s,
            exc_info=error,
        )
        await message.nak(delay=pause_s)
        events_handled.labels(letter.event_name, "failed").inc()

    async def _give_up(self, message: Msg, letter: Letter) -> None:
        log.error("event_dead", subject=letter.subject, released=self.stream)
        await message.term()
        self._settled(letter, "dead")

    def _settled(self, letter: Letter, outcome: str) -> None:
        event_deliveries.labels(self.stream).set(0)
        events_handled.labels(letter.event_name, outcome).inc()


def _letter(message: Msg) -> Letter:
    headers = message.headers or {}
    position = message.metadata
    return Letter(
        # An event put on the bus by hand has no id; its place in the stream is as good.
        event_id=headers.get(_EVENT_ID) or f"{position.stream}.{position.sequence.stream}",
        subject=message.subject,
        payload=message.data,
        request_id=headers.get(_REQUEST_ID, ""),
        traceparent=headers.get(trace.HEADER, ""),
    )


def _is_away(problem: RpcError | None) -> bool:
    """Say whether the database is gone, or somebody holds a lock on what the event needs."""
    if problem is None:
        return False
    return (
        problem.reason == "DATABASE_UNAVAILABLE" or problem.metadata.get("limit") == "lock_timeout"
    )


@asynccontextmanager
async def _in_progress(message: Msg) -> AsyncIterator[None]:
    """Tell the bus that the event is being worked on, so that it is not delivered again."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            await message.in_progress()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
