"""Who calls REST: a bearer token, an API key, a cookie or a stream ticket, judged within a second.

A signature proves what was true when a token was made. Whether the session still stands, the
account is active and which role it has now is read from Postgres through `Fresh`.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson
from sqlalchemy import Uuid, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from kit.auth import ANONYMOUS, LEEWAY_S, Principal
from kit.db import server_now
from kit.errors import unauthenticated
from services.gateway.caller import TOKEN_COOKIE
from services.gateway.freshness import Fresh
from services.gateway.models.api_key import PREFIX, ApiKey
from services.gateway.models.stream_ticket import StreamTicket
from services.gateway.models.user import SignIn, User, digest
from services.gateway.signing_in import signed_out

if TYPE_CHECKING:
    from kit.auth import Signer, Verifier
    from kit.db import Sessions
    from services.gateway.exchange import Exchange

Means = Literal["anonymous", "bearer", "cookie", "api_key", "ticket"]

_INTERNAL_TTL_S = 60
_INTERNAL_KEPT_S = 30
_MAX_KEPT = 20_000
_ACCESS = frozenset({"access"})


@dataclass(frozen=True)
class Identity:
    """A caller of REST and how it showed who it is."""

    principal: Principal
    means: Means
    api_key_id: str = ""
    key_hash: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody in particular calls."""
        return self.means == "anonymous"


NOBODY = Identity(ANONYMOUS, "anonymous")


@dataclass(frozen=True)
class _Standing:
    """What Postgres says of a session or key that holds."""

    user_id: str
    role: str
    scopes: frozenset[str] = frozenset()
    id: str = ""


_SIGN_INS = (
    select(SignIn.id, SignIn.user_id, User.role)
    .join(User, User.id == SignIn.user_id)
    .where(
        SignIn.id == func.any(bindparam("ids", type_=ARRAY(Uuid(as_uuid=False)))),
        SignIn.revoke_time.is_(None),
        SignIn.expire_time > server_now(),
        User.is_active,
    )
)


class Credentials:
    """Tells who calls, and signs what the services behind the edge are shown."""

    def __init__(self, sessions: Sessions, verifier: Verifier, signer: Signer) -> None:
        self._sessions = sessions
        self._verifier = verifier
        self._signer = signer
        self._sign_ins = Fresh(self._read_sign_ins)
        self._keys = Fresh(self._read_keys)
        self._verified: dict[str, tuple[Principal, float]] = {}
        self._internal: dict[Principal, tuple[str, float]] = {}
        self._used_keys: set[str] = set()

    async def identify(self, exchange: Exchange, *, may_use_ticket: bool) -> Identity:
        """Return who sent a request; NOBODY when it shows no credential.

        Raises UNAUTHENTICATED for a credential that does not hold.
        """
        scheme, _, value = exchange.header(b"authorization").partition(" ")
        if scheme:
            if scheme.lower() != "bearer":
                raise unauthenticated("send Authorization: Bearer", reason="TOKEN_INVALID")
            value = value.strip()
            is_key = value.startswith(PREFIX)
            return await (self._by_key(value) if is_key else self._by_token(value, "bearer"))
        if may_use_ticket and (tickets := exchange.query().get("ticket")):
            return await self._by_ticket(tickets[0], exchange.path)
        if token := exchange.cookie(TOKEN_COOKIE):
            return await self._by_token(token, "cookie")
        return NOBODY

    async def still_holds(self, identity: Identity) -> bool:
        """Say whether a caller who was let in would be let in now."""
        if identity.key_hash:
            return await self._keys.get(identity.key_hash) is not None
        return await self._sign_ins.get(identity.principal.session_id) is not None

    def internal_token(self, principal: Principal) -> str:
        """Return the token that stands for a caller behind the edge, good for half a minute."""
        now = time.monotonic()
        token, until = self._internal.get(principal, ("", 0.0))
        if until <= now:
            if len(self._internal) > _MAX_KEPT:
                self._internal.clear()
            token = self._signer.internal(principal, _INTERNAL_TTL_S)
            self._internal[principal] = token, now + _INTERNAL_KEPT_S
        return token

    def forget(self) -> None:
        """Read again whatever is asked next: accounts were changed through this edge."""
        self._sign_ins.forget()
        self._keys.forget()

    async def keep_sign_ins(self) -> None:
        """Keep sessions in use fresh, until cancelled."""
        await self._sign_ins.keep()

    async def keep_keys(self) -> None:
        """Keep API keys in use fresh, until cancelled."""
        await self._keys.keep()

    async def record_use(self) -> None:
        """Write down when the keys used since the last call were used."""
        used, self._used_keys = self._used_keys, set()
        if not used:
            return
        async with self._sessions.begin() as session:
            await session.execute(
                update(ApiKey).where(ApiKey.id.in_(used)).values(last_used_time=server_now())
            )

    async def _by_token(self, token: str, means: Means) -> Identity:
        principal = self._verify(token)
        if not principal.session_id:
            raise signed_out()
        standing = await self._sign_ins.get(principal.session_id)
        if standing is None or standing.user_id != principal.subject:
            raise signed_out()
        if standing.role not in principal.roles:
            principal = _principal(standing, principal.session_id)
        return Identity(principal, means)

    def _verify(self, token: str) -> Principal:
        """Check the signature once per token, the expiry each time."""
        now = time.time()
        known = self._verified.get(token)
        if known is None or known[1] <= now:
            # The edge signed it on the same clock, so no leeway is due.
            principal = self._verifier.verify(token, now=now + LEEWAY_S, types=_ACCESS)
            known = principal, _expiry(token)
            if len(self._verified) > _MAX_KEPT:
                self._verified.clear()
            self._verified[token] = known
        return known[0]

    async def _by_key(self, key: str) -> Identity:
        key_hash = digest(key)
        standing = await self._keys.get(key_hash)
        if standing is None:
            raise unauthenticated("the API key does not hold", reason="API_KEY_INVALID")
        self._used_keys.add(standing.id)
        return Identity(_principal(standing, ""), "api_key", standing.id, key_hash)

    async def _by_ticket(self, ticket: str, path: str) -> Identity:
        """Spend a ticket; it holds once, for the path it was made for."""
        spent = (
            update(StreamTicket)
            .where(
                StreamTicket.ticket_hash == digest(ticket),
                StreamTicket.path == path,
                StreamTicket.use_time.is_(None),
                StreamTicket.expire_time > server_now(),
            )
            .values(use_time=server_now())
            .returning(StreamTicket.user_id, StreamTicket.sign_in_id, StreamTicket.scopes)
        )
        async with self._sessions.begin() as session:
            row = (await session.execute(spent)).first()
            user = await session.get(User, row.user_id) if row else None
        if row is None or user is None or not user.is_active:
            raise unauthenticated("the ticket does not hold", reason="TICKET_INVALID")
        standing = _Standing(user.id, user.role, frozenset(row.scopes))
        return Identity(_principal(standing, row.sign_in_id), "ticket")

    async def _read_sign_ins(self, ids: list[str]) -> dict[str, _Standing]:
        async with self._sessions() as session:
            rows = await session.execute(_SIGN_INS, {"ids": ids})
        return {row.id: _Standing(row.user_id, row.role) for row in rows}

    async def _read_keys(self, hashes: list[str]) -> dict[str, _Standing]:
        query = (
            select(ApiKey.key_hash, ApiKey.id, ApiKey.owner_id, ApiKey.scopes, User.role)
            .join(User, User.id == ApiKey.owner_id)
            .where(
                ApiKey.key_hash.in_(hashes),
                ApiKey.is_active,
                or_(ApiKey.expire_time.is_(None), ApiKey.expire_time > server_now()),
                User.is_active,
            )
        )
        async with self._sessions() as session:
            rows = await session.execute(query)
        return {
            row.key_hash: _Standing(row.owner_id, row.role, frozenset(row.scopes), row.id)
            for row in rows
        }


def _principal(standing: _Standing, session_id: str) -> Principal:
    return Principal(
        kind="user",
        subject=standing.user_id,
        roles=frozenset({standing.role}),
        scopes=standing.scopes,
        session_id=session_id,
    )


def _expiry(token: str) -> float:
    """Return when a token that was verified expires, in seconds since 1970."""
    payload = token.split(".")[1]
    return float(orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
