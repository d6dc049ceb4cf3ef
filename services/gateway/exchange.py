"""One HTTP request and its answer: reading within limits, answering with the right headers."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import grpc
import orjson

from kit import errors, trace
from services.gateway.failures import refusal, render

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from kit.errors import RpcError
    from services.gateway.failures import Headers

SECURITY_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
API_POLICY: Headers = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
ABORT = "elodrome.abort"
"""The ASGI extension of our server that breaks a connection."""
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_JSON = (b"content-type", b"application/json")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_MAX_QUERY_FIELDS = 100


@dataclass
class Exchange:
    """A request being answered. Header names are lower case, as ASGI gives them."""

    scope: Scope
    receive: Receive
    send: Send
    headers: dict[bytes, bytes] = field(init=False)
    request_id: str = field(init=False)
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    """HTTP status of the answer; 0 until it has begun."""
    reason: str = ""
    """Reason of the refusal, if it was one."""
    extra: Headers = field(default_factory=list)
    """Headers that whatever answer comes will carry."""

    def __post_init__(self) -> None:
        self.headers = dict(self.scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

    @property
    def method(self) -> str:
        """HTTP method, upper case."""
        return self.scope["method"]

    @property
    def path(self) -> str:
        """Path as sent, percent-encoded."""
        return self.scope["raw_path"].decode("ascii", "replace")

    @property
    def address(self) -> str:
        """Address of the caller."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def is_https(self) -> bool:
        """Whether the caller came by TLS."""
        return self.scope["scheme"] == "https"

    def header(self, name: bytes) -> str:
        """Return a header of the request, empty when absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self) -> dict[str, list[str]]:
        """Return the query, percent-decoded once.

        Raises INVALID_ARGUMENT when it is not UTF-8 or has more than 100 fields.
        """
        raw = self.scope["query_string"]
        if not raw:
            return {}
        try:
            return parse_qs(
                raw.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MAX_QUERY_FIELDS,
            )
        except ValueError:
            rule = f"must be UTF-8 with at most {_MAX_QUERY_FIELDS} fields"
            raise errors.invalid_argument("query", rule, reason="BAD_QUERY") from None

    def cookie(self, name: str) -> str:
        """Return a cookie of the request, empty when absent or malformed."""
        raw = self.header(b"cookie")
        if name not in raw:
            return ""
        try:
            found = SimpleCookie(raw).get(name)
        except CookieError:
            return ""
        return found.value if found else ""

    async def body(self, *, limit_bytes: int, timeout_s: float) -> bytes:
        """Return the whole JSON body, empty when there is none.

        Raises 411 for a body without a length, 413 for one that is too long, 415 for one that
        is not JSON, 408 when the sender falls silent.
        """
        if b"transfer-encoding" in self.headers:
            message = "a JSON body needs a Content-Length"
            raise refusal(
                411, message, reason="LENGTH_REQUIRED", code=grpc.StatusCode.INVALID_ARGUMENT
            )
        length = self.length()
        if length > limit_bytes:
            raise errors.too_large(
                f"the body may have {limit_bytes} bytes", limit_bytes=limit_bytes
            )
        if not length:
            return b""
        kind = self.header(b"content-type").partition(";")[0].strip().lower()
        if kind and kind != "application/json":
            message = f"send application/json, not {kind[:80]}"
            raise refusal(415, message, reason="NOT_JSON", code=grpc.StatusCode.INVALID_ARGUMENT)
        return b"".join([part async for part in self.parts(timeout_s=timeout_s)])

    def length(self) -> int:
        """Return the announced length of the body in bytes, 0 when there is none."""
        text = self.headers.get(b"content-length", b"0")
        return int(text) if text.isdigit() else 0

    async def parts(self, *, timeout_s: float) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises 408 after `timeout_s` of silence."""
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    message = await self.receive()
            except TimeoutError:
                self.extra.append((b"connection", b"close"))
                raise refusal(
                    408,
                    f"no data for {timeout_s:g} s",
                    reason="BODY_TIMEOUT",
                    code=grpc.StatusCode.DEADLINE_EXCEEDED,
                ) from None
            if message["type"] == "http.disconnect":
                raise Disconnected
            if message["body"]:
                yield message["body"]
            if not message.get("more_body"):
                return

    async def gone(self) -> None:
        """Return once the caller has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def abort(self) -> None:
        """Break the connection at once, whatever still waits to be sent."""
        if extension := self.scope.get("extensions", {}).get(ABORT):
            extension["call"]()

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers; the body follows in pieces."""
        self.status = status
        all_headers = [*headers, *self.extra, *SECURITY_HEADERS]
        all_headers.append((b"x-request-id", self.request_id.encode()))
        all_headers.append((b"traceresponse", trace.current.get().encode()))
        if self.is_https:
            all_headers.append(_HSTS)
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body; waits while the caller reads slowly."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(
        self, status: int, body: bytes, headers: Headers | None = None, *, json: bool = True
    ) -> None:
        """Send a whole answer."""
        mine = [(b"content-length", b"%d" % len(body)), *(headers or [])]
        if json:
            mine += [_JSON, *API_POLICY]
        await self.begin(status, mine)
        await self.write(body, more=False)

    async def answer_json(self, status: int, value: object) -> None:
        """Send a JSON value."""
        await self.answer(status, orjson.dumps(value))

    async def refuse(self, error: RpcError) -> None:
        """Send a refusal."""
        status, body, headers = render(error, self.request_id)
        self.reason = error.reason
        await self.answer(status, body, headers)


class Disconnected(Exception):  # noqa: N818
    """The caller went away; there is nobody to answer."""
