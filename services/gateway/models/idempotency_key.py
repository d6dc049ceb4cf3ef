"""Answers remembered for callers who repeat a request under the same Idempotency-Key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime


class IdempotencyKey(Base):
    """One key of one caller: in flight until it has a status, then the answer itself."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(primary_key=True)
    """Who sent it: `user:<id>`, or `ip:<address>` for calls without credentials."""
    key_hash: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    lock_time: Mapped[datetime]
    """Until when the first request holds the key; a crashed one lets go."""
    http_status: Mapped[int | None]
    body: Mapped[bytes | None]
    create_time: Mapped[CreateTime] = mapped_column(index=True)
