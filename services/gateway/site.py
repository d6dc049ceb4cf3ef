"""What the edge serves beside the API: a landing page, the documentation, health and metrics."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kit import errors
from services.gateway import openapi
from services.gateway.failures import refusal
from services.gateway.origins import SAFE_METHODS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.gateway.exchange import Exchange
    from services.gateway.failures import Headers
    from services.gateway.readiness import Readiness
    from services.gateway.routes import Routes

_PAGES = Path(__file__).parent / "pages"
_FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/docs": ("docs.html", b"text/html; charset=utf-8"),
    "/pages/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    "/pages/index.js": ("index.js", b"text/javascript; charset=utf-8"),
    "/pages/style.css": ("style.css", b"text/css; charset=utf-8"),
    "/favicon.ico": ("mark.svg", b"image/svg+xml"),
    "/pages/mark.svg": ("mark.svg", b"image/svg+xml"),
}
_SOURCES = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'"
)
_PAGE_POLICY: Headers = [
    (b"content-security-policy", _SOURCES),
    (b"cache-control", b"no-cache"),
]


@dataclass(frozen=True)
class Content:
    """A file ready to be sent, plain and compressed."""

    media_type: bytes
    plain: bytes
    packed: bytes
    etag: bytes

    @classmethod
    def of(cls, media_type: bytes, plain: bytes) -> Content:
        """Return the content of some bytes."""
        etag = b'"' + hashlib.sha256(plain).hexdigest()[:20].encode() + b'"'
        return cls(media_type, plain, gzip.compress(plain, 6, mtime=0), etag)


class Site:
    """Serves by exact path."""

    def __init__(self, routes: Routes, readiness: Readiness) -> None:
        self._routes = routes
        self._readiness = readiness
        self._document: asyncio.Task[Content] | None = None
        self._handlers: dict[str, Callable[[Exchange], Awaitable[None]]] = {
            "/openapi.json": self._openapi,
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request outside of the API."""
        path = exchange.path
        if exchange.method == "OPTIONS":
            await exchange.begin(204, [])
            await exchange.write(b"", more=False)
            return
        handler = self._handlers.get(path)
        if handler is None and path not in _FILES:
            raise errors.RpcError(
                grpc.StatusCode.NOT_FOUND, "there is no such page", reason="NO_SUCH_PAGE"
            )
        if exchange.method not in SAFE_METHODS:
            exchange.extra.append((b"allow", b"GET, HEAD, OPTIONS"))
            code = grpc.StatusCode.UNIMPLEMENTED
            raise refusal(405, "this page is read", reason="METHOD_NOT_ALLOWED", code=code)
        if handler:
            await handler(exchange)
        else:
            await _send(exchange, _file(path))

    async def _openapi(self, exchange: Exchange) -> None:
        """Send the document, built at the first request, off the event loop."""
        if self._document is None or (self._document.done() and self._document.exception()):
            self._document = asyncio.create_task(asyncio.to_thread(self._build))
        await _send(exchange, await asyncio.shield(self._document))

    def _build(self) -> Content:
        return Content.of(b"application/json", orjson.dumps(openapi.document(self._routes)))

    async def _alive(self, exchange: Exchange) -> None:
        await exchange.answer_json(200, {"status": "alive"})

    async def _ready(self, exchange: Exchange) -> None:
        report = await self._readiness.report()
        await exchange.answer_json(200 if report["ready"] else 503, report)

    async def _metrics(self, exchange: Exchange) -> None:
        kind = CONTENT_TYPE_LATEST.encode()
        await exchange.answer(200, generate_latest(), [(b"content-type", kind)], json=False)


@cache
def _file(path: str) -> Content:
    name, media_type = _FILES[path]
    return Content.of(media_type, (_PAGES / name).read_bytes())


async def _send(exchange: Exchange, content: Content) -> None:
    headers: Headers = [
        (b"content-type", content.media_type),
        (b"etag", content.etag),
        (b"vary", b"accept-encoding"),
        *_PAGE_POLICY,
    ]
    if exchange.headers.get(b"if-none-match") == content.etag:
        await exchange.begin(304, headers)
        await exchange.write(b"", more=False)
        return
    body = content.plain
    if b"gzip" in exchange.headers.get(b"accept-encoding", b""):
        body = content.packed
        headers.append((b"content-encoding", b"gzip"))
    await exchange.answer(200, body, headers, json=False)
