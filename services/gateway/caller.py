"""What the REST edge tells the gateway's own servicers about a caller: address, agent, cookie.

Only the edge of the same process is believed: it knows the seal, a secret made at start. Whoever
calls by gRPC is known by the address of the connection alone.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import grpc

    from services.gateway.exchange import Exchange

REFRESH_COOKIE = "elodrome_refresh"
TOKEN_COOKIE = "elodrome_token"  # noqa: S105 - a name, not a token
_PEER = re.compile(r"ipv[46]:(.*):\d+")
_MAX_AGENT_CHARACTERS = 300


@dataclass(frozen=True)
class Caller:
    """Where a call came from."""

    ip_address: str
    user_agent: str = ""
    refresh_token: str = ""
    """Value of the refresh cookie."""
    is_https: bool = False
    through_rest: bool = False


class Seal:
    """Marks metadata as coming from the edge of this very process."""

    def __init__(self) -> None:
        self._secret = secrets.token_urlsafe(32)

    def metadata(self, exchange: Exchange) -> list[tuple[str, str]]:
        """Return what the edge adds to a call of the gateway's own RPCs."""
        agent = exchange.header(b"user-agent")[:_MAX_AGENT_CHARACTERS]
        return [
            ("x-edge-seal", self._secret),
            ("x-edge-address", exchange.address),
            ("x-edge-agent", _printable(agent)),
            ("x-edge-refresh", _printable(exchange.cookie(REFRESH_COOKIE))),
            ("x-edge-scheme", exchange.scope["scheme"]),
        ]

    def caller(self, context: grpc.aio.ServicerContext) -> Caller:
        """Return who calls an RPC."""
        sent = context.invocation_metadata() or ()
        given = {key: value for key, value in sent if isinstance(value, str)}
        if not secrets.compare_digest(given.get("x-edge-seal", ""), self._secret):
            peer = _PEER.fullmatch(unquote(context.peer()))
            return Caller(ip_address=peer[1].strip("[]") if peer else "")
        return Caller(
            ip_address=given["x-edge-address"],
            user_agent=given["x-edge-agent"],
            refresh_token=given["x-edge-refresh"],
            is_https=given["x-edge-scheme"] == "https",
            through_rest=True,
        )


def _printable(text: str) -> str:
    """Return text that gRPC metadata can carry."""
    return "".join(c for c in text if " " <= c <= "~")
