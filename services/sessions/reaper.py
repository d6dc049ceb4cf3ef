"""Ends sessions whose player went silent or whose time is up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from kit.db import server_now
from services.sessions.model import Session, clock, finish
from services.sessions.states import State

if TYPE_CHECKING:
    from kit.db import Sessions
    from kit.gauges import Pace

_log = structlog.get_logger()


async def reap_forever(sessions: Sessions, pace: Pace) -> None:
    """Look for sessions that are over, again and again."""
    while True:
        while await reap_one(sessions):
            pass
        pace.passed()
        await asyncio.sleep(pace.interval_s)


async def reap_one(sessions: Sessions) -> bool:
    """End the session that is overdue the longest; say whether there was one.

    Several replicas may reap at once: each takes a session that nobody else holds.
    """
    overdue = (
        select(Session)
        .where(Session.state == State.ACTIVE, Session.idle_expire_time <= server_now())
        .order_by(Session.idle_expire_time)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    async with sessions.begin() as db:
        session = await db.scalar(overdue)
        if session is None:
            return False
        timed_out = session.expire_time <= await clock(db)
        reason = "the time limit was reached" if timed_out else "the player went silent"
        await finish(db, session, State.ABANDONED, reason)
    _log.info("session_reaped", session_id=session.id, reason=reason)
    return True
