"""Puts the gateway together: its RPCs, its HTTP application and its background loops."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import delete

from kit.db import server_now
from kit.gauges import Pace
from kit.server import Context, Parts
from services.gateway import attempts, quotas, routes
from services.gateway.attempts import Attempts
from services.gateway.audit import Audit
from services.gateway.backends import Backends
from services.gateway.caller import Seal
from services.gateway.credentials import Credentials
from services.gateway.edge import Edge
from services.gateway.listener import Listener
from services.gateway.models.stream_ticket import StreamTicket
from services.gateway.origins import Origins
from services.gateway.passwords import Passwords
from services.gateway.quotas import Quotas
from services.gateway.readiness import Readiness
from services.gateway.replays import Replays
from services.gateway.routes import Routes, Shape
from services.gateway.servicers.account import AccountServicer
from services.gateway.servicers.api_key import ApiKeyServicer
from services.gateway.servicers.edge import EdgeServicer
from services.gateway.signing_in import Tokens
from services.gateway.signing_in import sweep as sweep_sessions
from services.gateway.site import Site
from services.gateway.transfer import Download, Upload
from services.gateway.unary import Unary
from services.gateway.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.gateway.settings import GatewaySettings

_SWEEP_S = 300
_RECORD_USE_S = 1.0


def build(context: Context) -> Parts:
    """Wire the gateway's objects; the HTTP port is bound when this returns."""
    settings: GatewaySettings = context.settings
    table = routes.load()
    seal, limits = Seal(), Quotas(context.sessions)
    passwords = Passwords(settings.password_threads, settings.password_memory_kib)
    credentials = Credentials(context.sessions, context.verifier, context.signer)
    replays = Replays(
        context.sessions, lock_s=2 * settings.request_timeout_s, ttl_s=settings.idempotency_ttl_s
    )
    edge = _edge(
        context, table=table, credentials=credentials, limits=limits, replays=replays, seal=seal
    )
    listener = Listener(edge, settings)

    async def drain() -> None:
        context.draining.set()
        await listener.drain()

    async def close() -> None:
        passwords.close()

    sweeps = Pace("sweep", _SWEEP_S)

    return Parts(
        servicers=[
            AccountServicer(
                settings=settings,
                sessions=context.sessions,
                passwords=passwords,
                attempts=Attempts(settings),
                quotas=limits,
                tokens=Tokens(settings, context.signer),
                seal=seal,
            ),
            ApiKeyServicer(context.sessions),
            EdgeServicer(settings, context.sessions, table),
        ],
        loops={
            "http": listener.run,
            "sign_ins": credentials.keep_sign_ins,
            "api_keys": credentials.keep_keys,
            "api_key_use": lambda: _every(_RECORD_USE_S, credentials.record_use),
            "sweep": lambda: _every(_SWEEP_S, lambda: _sweep(context, replays, sweeps)),
        },
        close=close,
        drain=drain,
    )


def _edge(
    context: Context,
    *,
    table: Routes,
    credentials: Credentials,
    limits: Quotas,
    replays: Replays,
    seal: Seal,
) -> Edge:
    settings: GatewaySettings = context.settings
    # The edge names the deadline of every call itself.
    channel = partial(context.channel, limits_calls=False)
    backends = Backends(channel, credentials, seal)
    unary = Unary(
        settings=settings,
        routes=table,
        backends=backends,
        replays=replays,
        audit=Audit(context.sessions),
        credentials=credentials,
    )
    watch = Watch(settings, backends, credentials, context.draining)
    return Edge(
        settings=settings,
        routes=table,
        credentials=credentials,
        origins=Origins(allowed=settings.allowed_origins, public_url=settings.public_url),
        quotas=limits,
        shapes={
            Shape.UNARY: unary.serve,
            Shape.WATCH: watch.serve,
            Shape.DOWNLOAD: Download(settings, backends).serve,
            Shape.UPLOAD: Upload(settings, backends, unary).serve,
        },
        site=Site(table, Readiness(context)),
    )


async def _every(pause_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work again and again, until cancelled."""
    while True:
        await asyncio.sleep(pause_s)
        await work()


async def _sweep(context: Context, replays: Replays, pace: Pace) -> None:
    """Delete what nobody will ask for any more."""
    async with context.sessions.begin() as session:
        await attempts.sweep(session)
        await quotas.sweep(session)
        await replays.sweep(session)
        await sweep_sessions(session)
        await session.execute(delete(StreamTicket).where(StreamTicket.expire_time < server_now()))
    pace.passed()
