"""Writes the audit record: one row for every mutating call, before the caller hears of it.

Rows that end at the same time share one INSERT, so that a burst costs a few transactions.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from kit.db import new_id
from services.gateway.models.audit_entry import AuditEntry

if TYPE_CHECKING:
    from kit.db import Sessions


@dataclass(frozen=True)
class Record:
    """What is written down of one call; the fields are those of AuditEntry."""

    actor_kind: str
    actor_id: str
    api_key_id: str
    action: str
    method: str
    path: str
    resource_type: str
    resource_id: str
    http_status: int
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    ip_address: str


class Audit:
    """Appends to the record."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, record: Record) -> None:
        """Write a row; returns once it is committed, raises what the database raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        rows = [{"id": new_id(), **asdict(record)} for record, _ in batch]
        error: Exception | None = None
        try:
            async with self._sessions.begin() as session:
                await session.execute(insert(AuditEntry), rows)
        except Exception as raised:  # noqa: BLE001 - handed to those who wait, who raise it
            error = raised
        for _, done in batch:
            if done.cancelled():
                continue
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)
