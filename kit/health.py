"""gRPC health: whether a service can be used, and whether its process works at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kit import db, gauges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from kit.bus import Bus

    Check = Callable[[], Awaitable[None]]

LIVENESS = "liveness"
"""The health service name that says whether the process works at all, dependencies aside."""

_POLL_S = 2
_CHECK_S = 5.0
_FAILING_CHECK_S = 0.5
_CHECK_LIMIT_S = 5.0
_MAX_PROBES = 16
_PROBE_OPTIONS = [("grpc.max_receive_message_length", 1024), ("grpc.so_reuseport", 0)]

log = structlog.get_logger("kit.health")


class Health:
    """Every service and "" follow the database, "bus" the bus, "liveness" nothing.

    A check has a name of its own, which follows it alone: a service whose store does not answer
    goes on with what needs none.

    All are answered on the event loop, so that one which is stuck answers nobody: the probes of
    the chart end its process after three silences of ten seconds.
    """

    def __init__(self, engine: AsyncEngine, bus: Bus | None, names: list[str]) -> None:
        self.names = names
        self._engine = engine
        self._bus = bus
        # The module sets this name when it finds grpc.aio, which its stubs do not know.
        self._servicer = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self._ready: bool | None = None

    def register(self, server: grpc.aio.Server, *, reflection: bool) -> None:
        """Answer on a server, and list its services there if asked for."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        if reflection:
            # Imported here: most installs do without, and it costs memory.
            from grpc_reflection.v1alpha import reflection as server_reflection  # noqa: PLC0415

            known = [*self.names, health.SERVICE_NAME, server_reflection.SERVICE_NAME]
            server_reflection.enable_server_reflection(known, server)

    async def serve_probes(self, address: str) -> grpc.aio.Server:
        """Answer Check, and nothing else, at `host:port` without TLS; return what to stop.

        The probes of Kubernetes speak no TLS and have no certificate.
        """
        check = grpc.unary_unary_rpc_method_handler(
            self._servicer.Check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        server = grpc.aio.server(options=_PROBE_OPTIONS, maximum_concurrent_rpcs=_MAX_PROBES)
        handlers = grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check})
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(address)
        await server.start()
        return server

    async def up(self) -> None:
        """Say that the service is there."""
        await self._set([LIVENESS], serving=True)
        await self._follow(ready=True)

    async def down(self) -> None:
        """Say for good that it takes no more calls."""
        gauges.ready.set(0)
        await self._servicer.enter_graceful_shutdown()

    async def watch(self) -> None:
        """Follow the database and the bus until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await db.ping(self._engine)
            except Exception as error:  # noqa: BLE001 - whatever it is, the database is not usable
                await self._follow(ready=False, error=repr(error))
            else:
                await self._follow(ready=True)

    async def watch_check(self, name: str, check: Check) -> None:
        """Follow something that the service needs until cancelled; it may be slow to answer."""
        was_failing = False
        while True:
            error = ""
            try:
                async with asyncio.timeout(_CHECK_LIMIT_S):
                    await check()
            except Exception as raised:  # noqa: BLE001 - whatever it is, it cannot be used
                error = repr(raised)
            if bool(error) != was_failing:
                log.warning("check_changed", check=name, error=error)
            was_failing = bool(error)
            await self._set([name], serving=not error)
            # What has come back, or is only now coming up, is soon used.
            await asyncio.sleep(_FAILING_CHECK_S if error else _CHECK_S)

    async def _follow(self, *, ready: bool, error: str = "") -> None:
        await self._set(["bus"], serving=self._bus is not None and self._bus.connected)
        if ready == self._ready:
            return
        if self._ready is not None:
            log.warning("readiness_changed", ready=ready, error=error)
        self._ready = ready
        gauges.ready.set(ready)
        await self._set(["", *self.names], serving=ready)

    async def _set(self, names: list[str], *, serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        for name in names:
            await self._servicer.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)
