"""API keys: credentials for programs, kept as SHA-256."""

from __future__ import annotations

import secrets
from datetime import datetime

from elodrome.accounts.v1 import api_key_pb2
from sqlalchemy import ARRAY, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Id, Reference
from services.gateway.models.user import digest

PREFIX = "elo_"
"""What every key begins with, so that scanners and people recognise one."""
MAX_ACTIVE_KEYS = 50
_SHOWN_CHARACTERS = 12


class ApiKey(Base):
    """One key. It acts as its owner, within its scopes."""

    __tablename__ = "api_keys"

    id: Mapped[Id]
    owner_id: Mapped[Reference] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    prefix: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(default=True)
    last_used_time: Mapped[datetime | None]
    expire_time: Mapped[datetime | None]
    create_time: Mapped[CreateTime]

    @classmethod
    def make(
        cls, owner_id: str, name: str, scopes: list[str], expire_time: datetime | None
    ) -> tuple[ApiKey, str]:
        """Return a new record and the key itself, which is not kept."""
        key = PREFIX + secrets.token_urlsafe(32)
        record = cls(
            owner_id=owner_id,
            name=name,
            prefix=key[:_SHOWN_CHARACTERS],
            key_hash=digest(key),
            scopes=scopes,
            expire_time=expire_time,
        )
        return record, key

    def to_proto(self) -> api_key_pb2.ApiKey:
        """Return the record as its owner sees it."""
        return api_key_pb2.ApiKey(
            id=self.id,
            owner_id=self.owner_id,
            name=self.name,
            prefix=self.prefix,
            scopes=[f"SCOPE_{scope}" for scope in self.scopes],
            is_active=self.is_active,
            last_used_time=self.last_used_time,
            expire_time=self.expire_time,
            create_time=self.create_time,
        )
