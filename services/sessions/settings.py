"""What the sessions service is told from outside."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kit.settings import ServiceSettings


class SessionsSettings(ServiceSettings):
    """Settings of the sessions service."""

    service: ClassVar[str] = "sessions"

    session_idle_timeout_s: float = Field(default=300, gt=0, le=86_400)
    """Time without an event after which a session is abandoned."""
    session_time_limit_s: float = Field(default=3_600, gt=0, le=86_400)
    """Time after which a session is over in any case."""
    session_reap_interval_s: float = Field(default=5, gt=0, le=3_600)
    """Time between two looks for sessions that are over."""
    session_max_events: int = Field(default=10_000, ge=1, le=100_000)
    """Events that one session holds at most."""
    session_max_active: int = Field(default=20, ge=1, le=1_000)
    """Active sessions that one player has at most."""
    session_watch_interval_s: float = Field(default=0.25, gt=0, le=60)
    """Time between two looks for new events of a session that is watched."""
