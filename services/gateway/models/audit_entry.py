"""The audit record: append-only, enforced by a trigger."""

from __future__ import annotations

from typing import Any

from elodrome.accounts.v1 import audit_entry_pb2
from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Id


class AuditEntry(Base):
    """One mutating REST call."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index(None, "create_time", "id"),
        Index(None, "actor_id", "create_time"),
        Index(None, "resource_id", "create_time"),
    )

    id: Mapped[Id]
    create_time: Mapped[CreateTime]
    actor_kind: Mapped[str]
    actor_id: Mapped[str]
    api_key_id: Mapped[str]
    action: Mapped[str]
    method: Mapped[str]
    path: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[str]
    http_status: Mapped[int]
    reason: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    request_id: Mapped[str]
    ip_address: Mapped[str]

    def to_proto(self) -> audit_entry_pb2.AuditEntry:
        """Return the entry as an admin sees it."""
        entry = audit_entry_pb2.AuditEntry(
            id=self.id,
            create_time=self.create_time,
            actor_kind=self.actor_kind,
            actor_id=self.actor_id,
            api_key_id=self.api_key_id,
            action=self.action,
            method=self.method,
            path=self.path,
            resource_type=self.resource_type,
            resource_id=self.resource_id,
            http_status=self.http_status,
            reason=self.reason,
            request_id=self.request_id,
            ip_address=self.ip_address,
        )
        for name, value in (("before", self.before), ("after", self.after)):
            if value is not None:
                getattr(entry, name).update(value)
        return entry
