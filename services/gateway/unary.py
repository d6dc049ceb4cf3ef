"""One JSON request, one JSON answer: composed, called once, recorded if it changed something."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from kit import db
from services.gateway.audit import Record
from services.gateway.backends import OWN
from services.gateway.compose import Target, answer_body, answer_value, compose
from services.gateway.failures import from_backend, render
from services.gateway.origins import SAFE_METHODS
from services.gateway.replays import Held, Remembered
from services.gateway.routes import Shape

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from kit.errors import RpcError
    from services.gateway.audit import Audit
    from services.gateway.backends import Backends
    from services.gateway.credentials import Credentials, Identity
    from services.gateway.exchange import Exchange
    from services.gateway.failures import Headers
    from services.gateway.replays import Replays
    from services.gateway.routes import Route, Routes
    from services.gateway.settings import GatewaySettings

log = structlog.get_logger("gateway")

_CHANGES_WHAT_EXISTS = frozenset({"PATCH", "PUT", "DELETE"})
_SET_COOKIE = "http-set-cookie"
_NOUN = re.compile(r"/([a-z][a-z0-9-]*)(?::[a-z]+)?(?=/|$)")
_MAX_RECORDED_PATH = 1000


@dataclass(frozen=True)
class Outcome:
    """What a call came to: an answer, or a refusal."""

    http_status: int
    body: bytes
    headers: Headers
    response: Message | None = None
    error: RpcError | None = None


class Unary:
    """Serves the routes whose RPC takes one message and answers one."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        routes: Routes,
        backends: Backends,
        replays: Replays,
        audit: Audit,
        credentials: Credentials,
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._backends = backends
        self._replays = replays
        self._audit = audit
        self._credentials = credentials

    async def serve(self, exchange: Exchange, target: Target, identity: Identity) -> None:
        """Answer a request."""
        settings = self._settings
        body = b""
        if exchange.method not in SAFE_METHODS:
            body = await exchange.body(
                limit_bytes=settings.body_limit_bytes, timeout_s=settings.body_timeout_s
            )
        request = compose(target, exchange.query(), body)
        held = await self._hold(exchange, identity, body)
        if isinstance(held, Remembered):
            exchange.extra.append((b"idempotency-replayed", b"true"))
            await exchange.answer(held.http_status, held.body)
            return
        if exchange.method in SAFE_METHODS:
            outcome = await self._call(exchange, target, identity, request)
        else:
            outcome = await self._change(exchange, target, identity, request)
        if held:
            await self._replays.settle(held, outcome.http_status, _kept_body(target, outcome))
        if outcome.error:
            exchange.reason = outcome.error.reason
        await exchange.answer(outcome.http_status, outcome.body, outcome.headers)

    async def _hold(
        self, exchange: Exchange, identity: Identity, body: bytes
    ) -> Held | Remembered | None:
        key = exchange.header(b"idempotency-key")
        if not key or exchange.method != "POST":
            return None
        who = identity.principal.user_id
        principal = f"user:{who}" if who else f"ip:{exchange.address}"
        query = exchange.scope["query_string"]
        return await self._replays.begin(principal, key, [exchange.path.encode(), query, body])

    async def _change(
        self, exchange: Exchange, target: Target, identity: Identity, request: Message
    ) -> Outcome:
        before = await self._before(exchange, target, identity)
        outcome = await self._call(exchange, target, identity, request)
        if target.route.rpc.backend == OWN:
            self._credentials.forget()
        await self.record(exchange, target, identity, outcome, before=before)
        return outcome

    async def _call(
        self, exchange: Exchange, target: Target, identity: Identity, request: Message
    ) -> Outcome:
        rpc = target.route.rpc
        call = self._backends.call(
            rpc,
            request,
            metadata=self._backends.metadata(exchange, identity, rpc),
            timeout_s=self._settings.request_timeout_s,
        )
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return refused(from_backend(error, rpc.backend), exchange.request_id)
        headers: Headers = [
            (b"set-cookie", value.encode())
            for key, value in await call.initial_metadata() or ()
            if key == _SET_COOKIE
        ]
        body = answer_body(target.route, response)
        return Outcome(rpc.success, body, headers, response=response)

    async def _before(
        self, exchange: Exchange, target: Target, identity: Identity
    ) -> dict[str, Any] | None:
        """Return what is about to change, as its own GET route shows it to the caller."""
        if exchange.method not in _CHANGES_WHAT_EXISTS:
            return None
        found = self._routes.match(exchange.scope["raw_path"])
        reading = found.routes.get("GET") if found else None
        if reading is None or reading.rpc.shape is not Shape.UNARY:
            return None
        source = Target(reading, target.values)
        outcome = await self._call(exchange, source, identity, compose(source, {}, b""))
        return _recorded(reading, outcome)

    async def record(
        self,
        exchange: Exchange,
        target: Target,
        identity: Identity,
        outcome: Outcome,
        *,
        before: dict[str, Any] | None = None,
    ) -> None:
        """Append to the audit record; when that fails, the log holds the entry instead."""
        after = _recorded(target.route, outcome)
        kind = {"anonymous": "anonymous", "api_key": "api_key"}.get(identity.means, "user")
        record = Record(
            actor_kind=kind,
            actor_id=identity.principal.user_id,
            api_key_id=identity.api_key_id,
            action=target.route.rpc.name,
            method=exchange.method,
            path=exchange.path[:_MAX_RECORDED_PATH],
            resource_type=_resource_type(target.route.template),
            resource_id=target.values[-1] if target.values else _id_in(after),
            http_status=outcome.http_status,
            reason=outcome.error.reason if outcome.error else "",
            before=before,
            after=after,
            request_id=exchange.request_id,
            ip_address=exchange.address,
        )
        try:
            await self._audit.append(record)
        except Exception as error:
            if db.problem(error) is None:
                raise
            # The change is done; refusing now would invite the caller to do it twice.
            log.exception("audit_entry_not_stored", entry=asdict(record))


def refused(error: RpcError, request_id: str) -> Outcome:
    """Return the outcome of a refusal."""
    status, body, headers = render(error, request_id)
    return Outcome(status, body, headers, error=error)


def _recorded(route: Route, outcome: Outcome) -> dict[str, Any] | None:
    """Return an answer fit for the record: without secrets, None when it was a refusal."""
    if outcome.response is None:
        return None
    value = answer_value(route, outcome.response, redact=True)
    return value if isinstance(value, dict) else {"value": value}


def _kept_body(target: Target, outcome: Outcome) -> bytes:
    """Return the answer to remember for a repeated key; what is shown once stays shown once."""
    if outcome.response is None or not target.route.rpc.holds_secrets:
        return outcome.body
    return answer_body(target.route, outcome.response, redact=True)


def _resource_type(template: str) -> str:
    """Return the noun before the last variable of a path, else its first: `runs`, `api-keys`."""
    head = template.rpartition("/{")[0] or template
    nouns = _NOUN.findall(head.removeprefix("/api/v1"))
    return (nouns[-1] if "/{" in template else nouns[0]) if nouns else ""


def _id_in(value: dict[str, Any] | None) -> str:
    """Return the id of an answer: its own, else that of the resource inside it."""
    if not value:
        return ""
    if isinstance(own := value.get("id"), str):
        return own
    inner = (_id_in(item) for item in value.values() if isinstance(item, dict))
    return next((found for found in inner if found), "")
