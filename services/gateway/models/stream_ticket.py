"""Tickets that open one stream once, for clients that cannot send headers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Reference


class StreamTicket(Base):
    """One ticket, by the SHA-256 of its value."""

    __tablename__ = "stream_tickets"

    ticket_hash: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[Reference] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    sign_in_id: Mapped[str]
    """Session that asked for it; empty when an API key did."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    path: Mapped[str]
    expire_time: Mapped[datetime] = mapped_column(index=True)
    use_time: Mapped[datetime | None]
    create_time: Mapped[CreateTime]
