"""Brute force is slow: wrong passwords are counted per account and per address, in Postgres."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text, update

from kit import errors
from kit.db import new_id, server_now
from services.gateway.models.limit import LoginFailure
from services.gateway.models.user import digest

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.gateway.settings import GatewaySettings

_MINUTE_S = 60
_MEMORY = timedelta(days=1)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


class Attempts:
    """Counts attempts to sign in before they are judged, so that a volley counts in full."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings

    async def reserve(self, session: AsyncSession, account: str, address: str) -> str:
        """Count an attempt as failed until it proves right; return its id.

        Raises RESOURCE_EXHAUSTED when the account is locked, or it or the address has failed too
        often in the last minute.
        """
        key = digest(account)
        await session.execute(_LOCK, {"key": f"login {key}"})
        now = (await session.scalars(select(server_now()))).one()
        await self._refuse_locked(session, key, now)
        limits = self._settings
        await _refuse_hasty(
            session,
            LoginFailure.account_key == key,
            limits.login_failures_per_minute_account,
            now,
        )
        by_address = (LoginFailure.ip_address == address) & LoginFailure.is_judged
        await _refuse_hasty(session, by_address, limits.login_failures_per_minute_address, now)
        attempt = LoginFailure(id=new_id(), account_key=key, ip_address=address)
        session.add(attempt)
        return attempt.id

    async def _refuse_locked(self, session: AsyncSession, key: str, now: datetime) -> None:
        count, last = (
            await session.execute(
                select(func.count(), func.max(LoginFailure.create_time)).where(
                    LoginFailure.account_key == key, LoginFailure.create_time > now - _MEMORY
                )
            )
        ).one()
        if count < self._settings.lockout_failures:
            return
        left_s = self._settings.lockout_s - (now - last).total_seconds()
        if left_s > 0:
            raise errors.resource_exhausted(
                "too many wrong passwords: the account is locked for a while",
                reason="ACCOUNT_LOCKED",
                retry_after_s=math.ceil(left_s),
            )

    @staticmethod
    async def failed(session: AsyncSession, attempt_id: str) -> None:
        """Let the attempt count against its address too."""
        judged = update(LoginFailure).where(LoginFailure.id == attempt_id)
        await session.execute(judged.values(is_judged=True))

    @staticmethod
    async def withdraw(session: AsyncSession, attempt_id: str) -> None:
        """Forget an attempt that proved right."""
        await session.execute(delete(LoginFailure).where(LoginFailure.id == attempt_id))

    @staticmethod
    async def succeeded(session: AsyncSession, account: str) -> None:
        """Forget the failures of an account whose owner has shown up."""
        await session.execute(
            delete(LoginFailure).where(LoginFailure.account_key == digest(account))
        )


async def _refuse_hasty(
    session: AsyncSession, whose: ColumnElement[bool], limit: int, now: datetime
) -> None:
    recent = (
        select(LoginFailure.create_time)
        .where(whose, LoginFailure.create_time > now - timedelta(seconds=_MINUTE_S))
        .order_by(LoginFailure.create_time.desc())
        .limit(limit)
    )
    times = (await session.scalars(recent)).all()
    if len(times) >= limit:
        left_s = _MINUTE_S - (now - times[-1]).total_seconds()
        raise errors.resource_exhausted(
            "too many wrong passwords: wait a while",
            reason="TOO_MANY_FAILURES",
            retry_after_s=max(1, math.ceil(left_s)),
        )


async def sweep(session: AsyncSession) -> None:
    """Forget attempts of more than a day ago."""
    await session.execute(
        delete(LoginFailure).where(LoginFailure.create_time < server_now() - _MEMORY)
    )
