"""Which web sites may use the API: its own, and those the settings list.

Browsers attach cookies to whatever a foreign page sends, so a request that changes something and
relies on a cookie must show that its page is ours. Browsers say so by themselves; a request that
says nothing is refused. Callers who send a token are not concerned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import errors

if TYPE_CHECKING:
    from services.gateway.exchange import Exchange
    from services.gateway.failures import Headers

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ALLOWED_HEADERS = (
    b"authorization, content-type, idempotency-key, last-event-id, traceparent, x-request-id"
)
_EXPOSED_HEADERS = (
    b"x-request-id, traceresponse, retry-after, etag, content-disposition, idempotency-replayed"
)
_PREFLIGHT_S = b"600"


class Origins:
    """Judges where a request's page came from."""

    def __init__(self, *, allowed: frozenset[str], public_url: str) -> None:
        self._allowed = allowed
        self._own = public_url.rstrip("/")

    def refuse_forgery(self, exchange: Exchange, *, by_cookie: bool) -> None:
        """Raise PERMISSION_DENIED for a change that a foreign page may have caused."""
        if exchange.method in SAFE_METHODS or exchange.headers.get(b"authorization"):
            return
        origin = exchange.header(b"origin")
        site = exchange.header(b"sec-fetch-site")
        if origin:
            is_ours = self._is_own(exchange, origin) or origin in self._allowed
        else:
            is_ours = site == "same-origin" or not (by_cookie or site)
        if not is_ours:
            raise errors.permission_denied(
                "a request that relies on a cookie must come from this site's own pages",
                reason="CROSS_SITE",
            )

    def cors(self, exchange: Exchange) -> Headers:
        """Return what lets the page of an allowed origin read the answer; nothing for others."""
        origin = exchange.header(b"origin")
        if origin not in self._allowed:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
            (b"vary", b"origin"),
        ]

    def preflight(self, exchange: Exchange, methods: bytes) -> Headers:
        """Return what the page of an allowed origin is told before it sends a request."""
        if exchange.header(b"origin") not in self._allowed:
            return []
        return [
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_S),
        ]

    def _is_own(self, exchange: Exchange, origin: str) -> bool:
        host = exchange.header(b"host")
        return origin == self._own or origin == f"{exchange.scope['scheme']}://{host}"
