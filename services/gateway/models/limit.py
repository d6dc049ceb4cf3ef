"""What the gateway counts: requests in windows, and wrong passwords."""

from __future__ import annotations

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Id


class RateWindow(Base):
    """How many requests of one bucket were granted in one window of time."""

    __tablename__ = "rate_windows"

    bucket: Mapped[str] = mapped_column(primary_key=True)
    window_end: Mapped[int] = mapped_column(primary_key=True, index=True)
    """Seconds since 1970."""
    used: Mapped[int]


class LoginFailure(Base):
    """One attempt to sign in that failed, or is still being judged."""

    __tablename__ = "login_failures"
    __table_args__ = (
        Index(None, "account_key", "create_time"),
        Index(None, "ip_address", "create_time"),
    )

    id: Mapped[Id]
    account_key: Mapped[str]
    """SHA-256 of what was given as the account: unknown accounts are counted like known ones."""
    ip_address: Mapped[str]
    is_judged: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[CreateTime]
