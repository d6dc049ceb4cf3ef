"""The audit record, tickets for streams, and which build answers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, timedelta
from importlib import metadata
from typing import TYPE_CHECKING

from elodrome.accounts.v1 import edge_service_pb2 as pb
from elodrome.accounts.v1 import edge_service_pb2_grpc
from sqlalchemy import or_, select

from kit import errors, page, parse
from kit.auth import principal
from kit.db import server_now
from services.gateway.models.audit_entry import AuditEntry
from services.gateway.models.stream_ticket import StreamTicket
from services.gateway.models.user import digest

if TYPE_CHECKING:
    from datetime import datetime

    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp
    from sqlalchemy import Select

    from kit.db import Sessions
    from services.gateway.routes import Routes
    from services.gateway.settings import GatewaySettings

    Context = grpc.aio.ServicerContext

_MAX_PATH_CHARACTERS = 1000
_FIRST_REFUSAL = 400
_TEXT_FILTERS = ("actor_id", "resource_type", "resource_id", "request_id")


@dataclass(frozen=True)
class EdgeServicer(edge_service_pb2_grpc.EdgeServiceServicer):
    """Implements EdgeService."""

    settings: GatewaySettings
    sessions: Sessions
    routes: Routes

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, _context: Context
    ) -> pb.ListAuditEntriesResponse:
        query = _filtered(request)
        async with self.sessions() as session:
            items, token, total = await page.list_page(
                session, query, AuditEntry, request, convert=AuditEntry.to_proto
            )
        return pb.ListAuditEntriesResponse(items=items, next_page_token=token, total=total)

    async def CreateStreamTicket(
        self, request: pb.CreateStreamTicketRequest, _context: Context
    ) -> pb.StreamTicket:
        path = parse.text(request.path, "path", max_length=_MAX_PATH_CHARACTERS)
        found = self.routes.match(path.encode("ascii", "replace"))
        if found is None or "GET" not in found.routes:
            raise errors.invalid_argument("path", "must be the path of a stream of this API")
        if not principal().session_id:
            raise errors.permission_denied(
                "tickets are for signed-in sessions: a key can open the stream itself",
                reason="SESSION_REQUIRED",
            )
        value = secrets.token_urlsafe(24)
        ttl = timedelta(seconds=self.settings.stream_ticket_ttl_s)
        async with self.sessions.begin() as session:
            expire_time = (await session.scalars(select(server_now()))).one() + ttl
            session.add(
                StreamTicket(
                    ticket_hash=digest(value),
                    user_id=principal().user_id,
                    sign_in_id=principal().session_id,
                    scopes=sorted(principal().scopes),
                    path=path,
                    expire_time=expire_time,
                )
            )
        return pb.StreamTicket(ticket=value, expire_time=expire_time)

    async def GetBuild(self, _request: pb.GetBuildRequest, _context: Context) -> pb.Build:
        return pb.Build(version=metadata.version("elodrome"), commit=self.settings.commit)


def _filtered(request: pb.ListAuditEntriesRequest) -> Select[AuditEntry]:
    query = select(AuditEntry)
    for name in _TEXT_FILTERS:
        if value := getattr(request, name):
            query = query.where(getattr(AuditEntry, name) == value)
    if request.action:
        exact = AuditEntry.action == request.action
        last_part = AuditEntry.action.endswith(f"/{request.action}", autoescape=True)
        query = query.where(or_(exact, last_part))
    if request.HasField("after_time"):
        after = _moment(request.after_time, "after_time")
        query = query.where(AuditEntry.create_time >= after)
    if request.HasField("before_time"):
        before = _moment(request.before_time, "before_time")
        query = query.where(AuditEntry.create_time < before)
    if request.HasField("succeeded"):
        succeeded = AuditEntry.http_status < _FIRST_REFUSAL
        query = query.where(succeeded if request.succeeded else ~succeeded)
    return query


def _moment(value: Timestamp, field: str) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.invalid_argument(field, "must be a time that exists") from None
