"""Idempotency-Key: a POST that is sent again gets the first answer again and acts once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, update
from sqlalchemy.dialects.postgresql import insert

from kit import errors
from kit.db import server_now
from services.gateway.models.idempotency_key import IdempotencyKey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_FIRST_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Held:
    """A key that this request holds until it is settled."""

    principal: str
    key_hash: str


@dataclass(frozen=True)
class Remembered:
    """The answer that a key got the first time."""

    http_status: int
    body: bytes


class Replays:
    """Remembers answers by caller and key."""

    def __init__(self, sessions: Sessions, *, lock_s: float, ttl_s: int) -> None:
        self._sessions = sessions
        self._lock = timedelta(seconds=lock_s)
        self._ttl = timedelta(seconds=ttl_s)

    async def begin(self, principal: str, key: str, request: list[bytes]) -> Held | Remembered:
        """Take a key for a request, or return what it was answered before.

        Raises 422 when the key belongs to a different request, 409 while the first is in flight.
        """
        if not _KEY.fullmatch(key):
            rule = "must have 1..200 visible ASCII characters"
            raise errors.invalid_argument("idempotency-key", rule)
        held = Held(principal, hashlib.sha256(f"{principal} {key}".encode()).hexdigest())
        request_hash = hashlib.sha256(b"\0".join(request)).hexdigest()
        async with self._sessions.begin() as session:
            if await self._take(session, held, request_hash):
                return held
            known = await session.get_one(IdempotencyKey, (principal, held.key_hash))
        if known.request_hash != request_hash:
            raise errors.invalid_argument(
                "idempotency-key", "was used for another request", reason="IDEMPOTENCY_KEY_REUSED"
            )
        if known.http_status is None:
            raise errors.aborted(
                "the first request with this key is still being answered",
                reason="IDEMPOTENCY_KEY_IN_FLIGHT",
                retry_after_s=1,
            )
        return Remembered(known.http_status, known.body or b"")

    async def _take(self, session: AsyncSession, held: Held, request_hash: str) -> bool:
        now = server_now()
        row = {
            "principal": held.principal,
            "key_hash": held.key_hash,
            "request_hash": request_hash,
            "lock_time": now + self._lock,
        }
        expired = IdempotencyKey.create_time < now - self._ttl
        # A request that died with its replica let go of the key; only the same request takes it.
        abandoned = (
            IdempotencyKey.http_status.is_(None)
            & (IdempotencyKey.lock_time < now)
            & (IdempotencyKey.request_hash == request_hash)
        )
        taken = insert(IdempotencyKey).values(row)
        taken = taken.on_conflict_do_update(
            index_elements=[IdempotencyKey.principal, IdempotencyKey.key_hash],
            set_={**row, "http_status": None, "body": None, "create_time": now},
            where=or_(expired, abandoned),
        ).returning(IdempotencyKey.key_hash)
        return await session.scalar(taken) is not None

    async def settle(self, held: Held, http_status: int, body: bytes) -> None:
        """Remember the answer; forget the key when the request may succeed another time."""
        mine = (IdempotencyKey.principal == held.principal) & (
            IdempotencyKey.key_hash == held.key_hash
        )
        is_final = http_status < _FIRST_SERVER_ERROR and http_status != _TOO_MANY_REQUESTS
        change = (
            update(IdempotencyKey).where(mine).values(http_status=http_status, body=body)
            if is_final
            else delete(IdempotencyKey).where(mine)
        )
        async with self._sessions.begin() as session:
            await session.execute(change)

    async def sweep(self, session: AsyncSession) -> None:
        """Forget keys that are too old to be sent again."""
        await session.execute(
            delete(IdempotencyKey).where(IdempotencyKey.create_time < server_now() - self._ttl)
        )
