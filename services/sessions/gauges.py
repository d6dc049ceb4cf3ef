"""What stands in the tables of sessions, as gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge
from sqlalchemy import func, select

from kit.db import server_now
from kit.gauges import age_s, divergence
from services.sessions.model import Session
from services.sessions.states import State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

REAPER = "reaper"

sessions_active = Gauge("elodrome_sessions_active", "Sessions that somebody plays")


async def measure(db: AsyncSession) -> None:
    """Set the gauges of sessions."""
    active = select(func.count()).where(Session.state == State.ACTIVE)
    sessions_active.set(await db.scalar(active) or 0)
    overdue = select(age_s(Session.idle_expire_time)).where(
        Session.state == State.ACTIVE, Session.idle_expire_time <= server_now()
    )
    divergence.labels(REAPER).set(await db.scalar(overdue) or 0.0)
