"""The HTTP application: finds the route, the caller and the limit, and hands over by shape."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog
from prometheus_client import Counter, Histogram

from kit import db, errors, trace
from kit import log as kit_log
from services.gateway.compose import Target
from services.gateway.credentials import NOBODY
from services.gateway.exchange import Disconnected, Exchange
from services.gateway.failures import from_backend, refusal
from services.gateway.routes import Shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from services.gateway.credentials import Credentials, Identity
    from services.gateway.origins import Origins
    from services.gateway.quotas import Quotas
    from services.gateway.routes import Match, Route, Routes
    from services.gateway.settings import GatewaySettings

    Serve = Callable[[Exchange, Target, Identity], Awaitable[None]]

log = structlog.get_logger("gateway")
requests_finished = Counter(
    "elodrome_http_requests", "HTTP requests answered", ["method", "route", "status"]
)
request_duration = Histogram(
    "elodrome_http_request_duration_seconds",
    "Time from the headers of a request to the end of its answer; streams are left out",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)

_CLIENT_CLOSED = 499
_FIRST_FAULT = 500
_PAGE = "page"


@dataclass(frozen=True)
class Edge:
    """The ASGI application."""

    settings: GatewaySettings
    routes: Routes
    credentials: Credentials
    origins: Origins
    quotas: Quotas
    shapes: dict[Shape, Serve]
    site: Callable[[Exchange], Awaitable[None]]
    """Serves what is not the API: pages, health, metrics."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        exchange = Exchange(scope, receive, send)
        kit_log.request_id.set(exchange.request_id)
        found = self._find(exchange)
        name = found.route.template if isinstance(found, Target) else _PAGE
        span = _begin(exchange, found)
        try:
            await self._handle(exchange, found)
        except Disconnected:
            exchange.status = exchange.status or _CLIENT_CLOSED
        except Exception as error:  # noqa: BLE001 - the one place that answers for every failure
            backend = found.route.rpc.backend if isinstance(found, Target) else ""
            await self._refuse(exchange, _as_refusal(error, backend))
        finally:
            span.end(str(exchange.status) if exchange.status >= _FIRST_FAULT else "")
            _report(exchange, found, name)

    async def _handle(self, exchange: Exchange, found: Target | errors.RpcError | None) -> None:
        if isinstance(found, errors.RpcError):
            raise found
        if found is None:
            await self.site(exchange)
        else:
            await self._serve(exchange, found)

    def _find(self, exchange: Exchange) -> Target | errors.RpcError | None:
        """Return the route of a request, None for what is not the API, or why there is none."""
        if not exchange.path.startswith("/api/"):
            return None
        exchange.extra += self.origins.cors(exchange)
        try:
            match = self.routes.match(exchange.scope["raw_path"])
        except errors.RpcError as error:
            return error
        if match is None:
            return errors.RpcError(
                grpc.StatusCode.NOT_FOUND, "there is no such route", reason="NO_SUCH_ROUTE"
            )
        method = "GET" if exchange.method == "HEAD" else exchange.method
        if route := match.routes.get(method):
            return Target(route, match.values)
        return self._no_method(exchange, match)

    def _no_method(self, exchange: Exchange, match: Match) -> errors.RpcError | None:
        methods = {*match.routes, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        allow = ", ".join(sorted(methods))
        exchange.extra.append((b"allow", allow.encode()))
        if exchange.method == "OPTIONS":
            exchange.extra += self.origins.preflight(exchange, allow.encode())
            return None
        message = f"this path takes {allow}"
        code = grpc.StatusCode.UNIMPLEMENTED
        return refusal(405, message, reason="METHOD_NOT_ALLOWED", code=code)

    async def _serve(self, exchange: Exchange, target: Target) -> None:
        identity = await self._identify(exchange, target.route)
        # Where anybody may call, the cookie is not what lets the caller in.
        relies_on_cookie = identity.means == "cookie" and not target.route.rpc.anonymous
        self.origins.refuse_forgery(exchange, by_cookie=relies_on_cookie)
        if identity.is_anonymous:
            limit = self.settings.anonymous_requests_per_minute
            await self.quotas.spend(f"address:{exchange.address}", limit)
        else:
            limit = self.settings.requests_per_minute
            await self.quotas.spend(f"user:{identity.principal.user_id}", limit)
        await self.shapes[target.route.rpc.shape](exchange, target, identity)

    async def _identify(self, exchange: Exchange, route: Route) -> Identity:
        rpc = route.rpc
        try:
            identity = await self.credentials.identify(
                exchange, may_use_ticket=rpc.shape is Shape.WATCH
            )
        except errors.RpcError as error:
            # Signing in must work with an old cookie in the jar.
            if rpc.anonymous and error.code is grpc.StatusCode.UNAUTHENTICATED:
                return NOBODY
            raise
        if identity.is_anonymous and not rpc.anonymous:
            raise errors.unauthenticated("sign in, or send a token", reason="TOKEN_MISSING")
        return identity

    async def _refuse(self, exchange: Exchange, error: errors.RpcError) -> None:
        if exchange.status:
            exchange.reason = error.reason
            exchange.abort()
        else:
            await exchange.refuse(error)


def _as_refusal(error: Exception, backend: str) -> errors.RpcError:
    """Say in the caller's terms what went wrong; a bug is logged here and told to nobody."""
    if isinstance(error, errors.RpcError):
        return error
    if isinstance(error, grpc.aio.AioRpcError):
        return from_backend(error, backend)
    if problem := db.problem(error):
        return problem
    log.error("request_failed", exc_info=error)
    return errors.RpcError(grpc.StatusCode.INTERNAL, "internal error", reason="INTERNAL")


def _begin(exchange: Exchange, found: object) -> trace.Span:
    """Go on with the caller's trace, or begin one; there is no span of what is not the API."""
    came = exchange.header(b"traceparent")
    if isinstance(found, Target):
        return trace.begin(f"{exchange.method} {found.route.template}", "server", came)
    trace.adopt(came)
    return trace.UNRECORDED


def _report(exchange: Exchange, found: object, name: str) -> None:
    took_s = time.perf_counter() - exchange.started
    requests_finished.labels(exchange.method, name, exchange.status).inc()
    if isinstance(found, Target) and found.route.rpc.shape is Shape.UNARY:
        request_duration.labels(name).observe(took_s)
    log.info(
        "request",
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        reason=exchange.reason,
        duration_ms=round(took_s * 1000, 2),
    )
