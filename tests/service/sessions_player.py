"""A running sessions service as one player uses it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.sessions.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import select

from kit import errors
from kit.outbox import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit import server
    from tests.service.sessions_registry import Registry, RunningRegistry
    from tests.tokens import Metadata

DUEL = session_pb2.SESSION_MODE_DUEL


class Play:
    """A running sessions service as one player uses it."""

    def __init__(
        self, running: server.Running, registry: RunningRegistry, player: Metadata, player_id: str
    ) -> None:
        self.running = running
        self.peer = registry
        self.registry: Registry = registry.registry
        self.stub = session_service_pb2_grpc.SessionServiceStub(running.channel)
        self.player = player
        self.player_id = player_id

    async def start(self, *, who: Metadata | None = None, **fields: Any) -> session_pb2.Session:
        request = session_service_pb2.StartSessionRequest(**{"mode": DUEL, **fields})
        return await self.stub.StartSession(request, metadata=who or self.player)

    async def record(
        self,
        session_id: str,
        t_ms: int,
        type_name: str,
        payload: dict[str, object] | None = None,
        *,
        event_id: str = "",
        who: Metadata | None = None,
    ) -> session_pb2.SessionEvent:
        struct = Struct()
        struct.update(payload or {})
        request = session_service_pb2.RecordEventRequest(
            session_id=session_id, t_ms=t_ms, type=type_name, payload=struct, event_id=event_id
        )
        return await self.stub.RecordEvent(request, metadata=who or self.player)

    async def end(self, session_id: str, *, who: Metadata | None = None, **fields: Any) -> Any:
        request = session_service_pb2.EndSessionRequest(id=session_id, **fields)
        return await self.stub.EndSession(request, metadata=who or self.player)

    async def get(self, session_id: str, *, who: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(id=session_id)
        return await self.stub.GetSession(request, metadata=who or self.player)

    async def summary(self, session_id: str) -> session_pb2.SessionSummary:
        request = session_service_pb2.GetSummaryRequest(id=session_id)
        return await self.stub.GetSummary(request, metadata=self.player)

    async def events(self, session_id: str, **fields: Any) -> Any:
        request = session_service_pb2.ListSessionEventsRequest(session_id=session_id, **fields)
        return await self.stub.ListSessionEvents(request, metadata=self.player)

    async def sessions(self, *, who: Metadata | None = None, **fields: Any) -> Any:
        request = session_service_pb2.ListSessionsRequest(**fields)
        return await self.stub.ListSessions(request, metadata=who or self.player)

    async def emitted(self) -> list[str]:
        async with self.running.context.sessions() as db:
            rows = await db.scalars(select(OutboxEvent).order_by(OutboxEvent.sequence))
            return [row.subject.removeprefix("elodrome.sessions.v1.") for row in rows]


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str, *, field: str = "") -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        yield
    refusal = errors.from_call(failure.value)
    assert (refusal.code, refusal.reason, refusal.field) == (code, reason, field), refusal
