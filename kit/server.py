"""A service's life: settings, database, servicers, loops, and a drain that loses nobody's call."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from prometheus_client import start_http_server
from pydantic import ValidationError

from kit import auth, db, gauges, log, outbox, rpc, schema, trace
from kit.bus import Bus, Consumer
from kit.channel import MAX_MESSAGE_BYTES, open_channel
from kit.health import Health
from kit.settings import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from google.protobuf.descriptor import ServiceDescriptor
    from sqlalchemy.ext.asyncio import AsyncEngine

    from kit.settings import ServiceSettings
    from kit.tls import Certificates

    Loop = Callable[[], Awaitable[None]]
    Build = Callable[["Context"], "Parts | Awaitable[Parts]"]

_MAX_CONCURRENT_RPCS = 1000
_DRAIN_GRACE_S, _STOP_LIMIT_S = 10, 5
_DATABASE_WAIT_S = 300
_MAX_LOOP_BACKOFF_S = 30
_STEADY_S = 60
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Callers look again where the pods are; calls under way go on to their end.
    ("grpc.max_connection_age_ms", 300_000),
]

logger = structlog.get_logger("kit.server")


@dataclass
class Context:
    """What the kit hands to a service: its settings, its database, its keys and its peers."""

    settings: Any
    engine: AsyncEngine
    sessions: db.Sessions
    signer: auth.Signer
    verifier: auth.Verifier
    bus: Bus | None
    """The event bus, which may be away; None for a service that was given none."""
    outbox_wake: asyncio.Event
    certificates: Certificates | None = None
    """What this service shows its peers; None where calls are plain."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service was told to end; long waits should end with it."""
    _channels: dict[tuple[str, bool], grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, service: str, *, limits_calls: bool = True) -> grpc.aio.Channel:
        """Return the channel to a peer, always the same one; `open_channel` says what it limits."""
        key = service, limits_calls
        if key not in self._channels:
            is_own = service == self.settings.service
            address = self.settings.own_address if is_own else self.settings.address_of(service)
            self._channels[key] = open_channel(
                address,
                limits_calls=limits_calls,
                certificates=self.certificates,
                name=self.settings.name_of(service) if is_own else "",
            )
        return self._channels[key]

    def service_token(self, on_behalf_of: str = "") -> str:
        """Sign a token for one call: as this service, or for a user whose ownership then counts."""
        return self.signer.service(on_behalf_of)

    def call_metadata(self, on_behalf_of: str = "") -> list[tuple[str, str]]:
        """Return the metadata of one call to a peer: the token, the request id and the trace."""
        metadata = [("authorization", f"Bearer {self.service_token(on_behalf_of)}")]
        if current := log.request_id.get():
            metadata.append(("x-request-id", current))
        if current := trace.current.get():
            metadata.append((trace.HEADER, current))
        return metadata

    async def close_channels(self) -> None:
        """Hang up on every peer."""
        for channel in self._channels.values():
            await channel.close()


@dataclass
class Parts:
    """What a service hands to the kit to run.

    `servicers` are instances of generated servicer classes; `loops` run in the background by name
    and are started again when they raise; `close` is called after everything has stopped.
    """

    servicers: list[Any]
    loops: dict[str, Loop] = field(default_factory=dict)
    consumers: list[Consumer] = field(default_factory=list)
    measures: list[gauges.Measure] = field(default_factory=list)
    """Each sets gauges to what stands in the tables."""
    checks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Each raises while something that the service needs does not answer; health tells it."""
    close: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[], Awaitable[None]] | None = None
    """Called first when the service was told to end, while its RPCs still answer."""


@dataclass
class Running:
    """A service that answers on `address`, `host:port`."""

    port: int
    address: str
    context: Context
    channel: grpc.aio.Channel
    """A channel to this service, for its tests."""


@asynccontextmanager
async def running(
    settings: ServiceSettings, build: Build, *, grace_s: float = 1
) -> AsyncIterator[Running]:
    """Run a service in this process until the block ends; RPCs then get `grace_s` to finish."""
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(opened(settings))
        parts = await built(context, build)
        if parts.close is not None:
            stack.push_async_callback(parts.close)
        gate = rpc.Gate(context.verifier)
        server = grpc.aio.server(
            interceptors=[gate],
            # Whoever starts the services of a laptop holds their ports for them.
            options=[*_OPTIONS, ("grpc.so_reuseport", int(settings.profile == "laptop"))],
            maximum_concurrent_rpcs=_MAX_CONCURRENT_RPCS,
        )
        names = [_register(servicer, server) for servicer in parts.servicers]
        status = Health(context.engine, context.bus, [name for group in names for name in group])
        status.register(server, reflection=settings.reflection)
        port = _listen(server, context)
        await server.start()
        if context.certificates is not None and settings.health_port:
            probed = await status.serve_probes(f"{settings.bind_host}:{settings.health_port}")
            stack.push_async_callback(probed.stop, None)
        loops = _background(context, parts, status)
        tasks = [
            asyncio.create_task(keep_running(name, loop), name=name) for name, loop in loops.items()
        ]
        stack.push_async_callback(_stop, tasks)
        stack.push_async_callback(_drain, context, gate, status, server, grace_s)
        if parts.drain is not None:
            stack.push_async_callback(parts.drain)
        address = f"127.0.0.1:{port}"
        channel = await stack.enter_async_context(
            open_channel(
                address,
                certificates=context.certificates,
                name=settings.name_of(settings.service),
            )
        )
        await status.up()
        logger.info("serving", address=f"{settings.bind_host}:{port}", services=status.names)
        yield Running(port, address, context, channel)


@asynccontextmanager
async def opened(settings: ServiceSettings) -> AsyncIterator[Context]:
    """Open what a service needs before it can be built: a database that answers, and its keys."""
    pool_size, timeout_s = settings.database_pool_size, settings.database_timeout_s
    engine = db.open_engine(settings.database_url, pool_size=pool_size, timeout_s=timeout_s)
    gauges.watch_pool(engine, pool_size)
    wake = asyncio.Event()
    try:
        await _wait_for_database(engine)
        await schema.wait(engine, settings.service)
        context = Context(
            settings=settings,
            engine=engine,
            sessions=db.Sessions(engine, {outbox.WAKE: wake}),
            signer=auth.Signer.load(settings.keys_dir, settings.service),
            verifier=auth.Verifier.load(settings.keys_dir),
            bus=Bus(settings) if settings.nats_url else None,
            outbox_wake=wake,
            certificates=_certificates(settings),
        )
        try:
            yield context
        finally:
            await context.close_channels()
    finally:
        await engine.dispose()


def _certificates(settings: ServiceSettings) -> Certificates | None:
    if settings.tls_dir is None:
        return None
    # Imported here: most installs do without, and it tells of certificates in metrics.
    from kit.tls import Certificates  # noqa: PLC0415

    return Certificates(settings.tls_dir)


def _listen(server: grpc.aio.Server, context: Context) -> int:
    """Open the port of the service, to peers with a certificate only if it has one; return it."""
    address = f"{context.settings.bind_host}:{context.settings.grpc_port}"
    if context.certificates is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, context.certificates.server_credentials())


async def built(context: Context, build: Build) -> Parts:
    """Let the service put itself together."""
    parts = build(context)
    return await parts if inspect.isawaitable(parts) else parts


async def _wait_for_database(engine: AsyncEngine) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _DATABASE_WAIT_S
    backoff_s = 0.2
    while True:
        try:
            await db.ping(engine)
        except Exception as error:
            if db.problem(error) is None and not isinstance(error, TimeoutError):
                raise
            if loop.time() > give_up:
                raise
            logger.warning("waiting_for_database", error=str(error), retry_s=backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, 5)
        else:
            return


def _register(servicer: Any, server: grpc.aio.Server) -> list[str]:  # noqa: ANN401 - a servicer
    """Add a servicer for every generated base class it has; return the names of its services."""
    names = []
    for base, descriptor in _services(type(servicer)):
        getattr(sys.modules[base.__module__], f"add_{base.__name__}_to_server")(servicer, server)
        names.append(descriptor.full_name)
        for method in descriptor.methods:
            rpc.expect(f"{descriptor.full_name}/{method.name}")
    if not names:
        raise TypeError(f"{type(servicer).__name__} does not derive from a generated servicer")
    return names


def _services(servicer: type) -> Iterator[tuple[type, ServiceDescriptor]]:
    for base in servicer.__mro__:
        if base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            messages = sys.modules[base.__module__.removesuffix("_grpc")]
            name = base.__name__.removesuffix("Servicer")
            yield base, messages.DESCRIPTOR.services_by_name[name]


def _background(context: Context, parts: Parts, status: Health) -> dict[str, Loop]:
    bus = context.bus
    measuring = gauges.Measuring(
        context.sessions, bus, consumers=parts.consumers, measures=parts.measures
    )
    loops: dict[str, Loop] = {
        "health": status.watch,
        "lag": gauges.Lag().run,
        "measure": measuring.run,
        **{
            f"check.{name}": partial(status.watch_check, name, check)
            for name, check in parts.checks.items()
        },
        **parts.loops,
    }
    if bus is None:
        return loops
    loops["bus"] = bus.run
    loops["outbox"] = outbox.Relay(context.engine, bus, context.outbox_wake).run
    for consumer in parts.consumers:

        async def consume(consumer: Consumer = consumer) -> None:
            await consumer.run(bus, context.sessions)

        loops[f"consumer.{consumer.stream}"] = consume
    return loops


async def keep_running(name: str, loop: Loop) -> None:
    """Run a background loop; start it again after a growing pause when it raises or ends."""
    clock = asyncio.get_running_loop().time
    backoff_s = 0.5
    while True:
        started = clock()
        try:
            await loop()
            logger.warning("loop_ended", loop=name)
        except Exception as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                return  # nats-py answers a cancellation with an error of its own
            problem = db.problem(error)
            if problem is None:
                logger.exception("loop_failed", loop=name, retry_s=backoff_s)
            else:
                logger.warning("loop_failed", loop=name, retry_s=backoff_s, error=str(error))
        if clock() - started > _STEADY_S:
            backoff_s = 0.5
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, _MAX_LOOP_BACKOFF_S)


async def _drain(
    context: Context, gate: rpc.Gate, status: Health, server: grpc.aio.Server, grace_s: float
) -> None:
    context.draining.set()
    await status.down()
    gate.drain()
    await server.stop(grace_s)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    _, stuck = await asyncio.wait(tasks, timeout=_STOP_LIMIT_S)
    if stuck:
        logger.error("loops_stuck", loops=[task.get_name() for task in stuck])


def main(settings_class: type[ServiceSettings], build: Build) -> None:
    """Run a service until SIGTERM or SIGINT; the whole body of its `__main__`."""
    import uvloop  # noqa: PLC0415 - tests run services on pytest's own loop

    log.configure(settings_class.service)
    try:
        settings = settings_class.load()
    except ValidationError as error:
        sys.exit(explain(settings_class.service, error))
    log.configure(settings.service, level=settings.log_level)
    end = _collect(settings)
    try:
        uvloop.run(_serve(settings, build))
    except schema.OutdatedSchemaError as error:
        sys.exit(f"{settings.service} cannot start:\n{error}")
    finally:
        end()


def _collect(settings: ServiceSettings) -> Callable[[], None]:
    """Send spans to the collector of the settings, if they name one; return what ends that."""
    if not settings.otlp_endpoint:
        return lambda: None
    # Imported here: most installs do without, and it costs memory.
    from kit.otlp import OtlpRecorder  # noqa: PLC0415

    return trace.collect(OtlpRecorder(settings.service, settings.otlp_endpoint))


async def _serve(settings: ServiceSettings, build: Build) -> None:
    ended, started = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    serving = asyncio.create_task(_serve_until(ended, started, settings, build))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not started.is_set():
        # Told to end while the start still waits, for the database perhaps.
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _serve_until(
    ended: asyncio.Event, started: asyncio.Event, settings: ServiceSettings, build: Build
) -> None:
    async with running(settings, build, grace_s=_DRAIN_GRACE_S):
        if settings.metrics_port:
            start_http_server(settings.metrics_port, addr=settings.bind_host)
        # What was loaded to start lives until the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        started.set()
        await ended.wait()
        logger.info("draining")
