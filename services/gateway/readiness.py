"""Whether the edge can do its work, dependency by dependency."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from kit import db
from kit.settings import SERVICES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kit.server import Context

_LIMIT_S = 1.5
_KEPT_S = 0.5
_BEHIND_PEERS = {"storage": "registry", "workers": "executor"}
"""What a peer needs and answers for: where artifacts are kept, and where workers run."""
_CHECK = "/grpc.health.v1.Health/Check"


@dataclass
class Readiness:
    """Asks every dependency at once.

    Only the database is required: without a peer the routes of the others still work, and taking
    the edge out of service would take those away too.
    """

    context: Context
    _last: dict[str, Any] = field(default_factory=dict)
    _asked_at: float = -1e9
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def report(self) -> dict[str, Any]:
        """Return `ready`, a status, and the answer of each dependency; at most twice a second."""
        async with self._lock:
            if time.monotonic() - self._asked_at > _KEPT_S:
                self._last = await self._ask()
                self._asked_at = time.monotonic()
            return self._last

    async def _ask(self) -> dict[str, Any]:
        peers = [name for name in SERVICES if name != self.context.settings.service]
        names = ["database", "bus", *_BEHIND_PEERS, *peers]
        answers = await asyncio.gather(
            _ask_one(lambda: db.ping(self.context.engine)),
            _ask_one(self._ask_bus),
            *(
                _ask_one(lambda name=name, peer=peer: self._ask_peer(peer, name))
                for name, peer in _BEHIND_PEERS.items()
            ),
            *(_ask_one(lambda peer=peer: self._ask_peer(peer)) for peer in peers),
        )
        checks = dict(zip(names, answers, strict=True))
        ready = checks["database"]["ok"] and not self.context.draining.is_set()
        complete = ready and all(check["ok"] for check in answers)
        status = "ready" if complete else "degraded" if ready else "unavailable"
        return {"ready": ready, "status": status, "checks": checks}

    async def _ask_bus(self) -> None:
        if self.context.bus is None or not self.context.bus.connected:
            raise ConnectionError("not connected")

    async def _ask_peer(self, peer: str, name: str = "") -> None:
        check = self.context.channel(peer).unary_unary(
            _CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(service=name), timeout=_LIMIT_S)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ConnectionError(
                f"the {peer} cannot use it: see check_changed in its log"
                if name
                else "does not serve: its database is down or it is stopping"
            )


async def _ask_one(ask: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    began = time.perf_counter()
    error = ""
    try:
        async with asyncio.timeout(_LIMIT_S):
            await ask()
    except grpc.aio.AioRpcError as raised:
        error = raised.code().name
    except TimeoutError:
        error = f"no answer in {_LIMIT_S:g} s"
    except Exception as raised:  # noqa: BLE001 - whatever it is, the dependency is not usable
        problem = db.problem(raised)
        error = problem.message if problem else str(raised)
    took_ms = round((time.perf_counter() - began) * 1000, 1)
    return {"ok": not error, "took_ms": took_ms, **({"error": error} if error else {})}
