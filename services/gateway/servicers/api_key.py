"""Credentials for programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from elodrome.accounts.v1 import api_key_service_pb2 as pb
from elodrome.accounts.v1 import api_key_service_pb2_grpc
from elodrome.auth.v1 import rule_pb2
from sqlalchemy import func, select

from kit import errors, page, parse
from kit.auth import principal
from kit.db import server_now
from services.gateway.models.api_key import MAX_ACTIVE_KEYS, ApiKey
from services.gateway.models.user import User
from services.gateway.signing_in import current_user

if TYPE_CHECKING:
    from datetime import datetime

    import grpc
    from elodrome.accounts.v1 import api_key_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions

    Context = grpc.aio.ServicerContext


@dataclass(frozen=True)
class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Implements ApiKeyService."""

    sessions: Sessions

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, _context: Context
    ) -> pb.CreateApiKeyResponse:
        name = parse.text(request.name, "name", max_length=80)
        scopes = _parse_scopes(request)
        async with self.sessions.begin() as session:
            user = await current_user(session)
            await _refuse_too_many(session, user)
            expire_time = await _parse_expiry(session, request)
            record, key = ApiKey.make(user.id, name, scopes, expire_time)
            session.add(record)
            await session.flush()
            return pb.CreateApiKeyResponse(api_key=record.to_proto(), secret=key)

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, _context: Context
    ) -> pb.ListApiKeysResponse:
        owner_id = parse.optional_uuid(request.owner_id, "owner_id") or principal().user_id
        if owner_id != principal().user_id and not principal().is_admin:
            raise errors.permission_denied(
                "only an admin sees the keys of others", reason="ROLE_MISSING"
            )
        query = select(ApiKey).where(ApiKey.owner_id == owner_id)
        if request.HasField("is_active"):
            query = query.where(ApiKey.is_active == request.is_active)
        async with self.sessions() as session:
            items, token, total = await page.list_page(
                session, query, ApiKey, request, convert=ApiKey.to_proto
            )
        return pb.ListApiKeysResponse(items=items, next_page_token=token, total=total)

    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        key_id = parse.uuid(request.id, "id")
        async with self.sessions.begin() as session:
            record = await session.get(ApiKey, key_id, with_for_update=True)
            if record is None or not _may_revoke(record):
                raise errors.not_found("api key", key_id)
            record.is_active = False
            await session.flush()
            return record.to_proto()


def _may_revoke(record: ApiKey) -> bool:
    return record.owner_id == principal().user_id or principal().is_admin


def _parse_scopes(request: pb.CreateApiKeyRequest) -> list[str]:
    """Return the names of the scopes, each once; a key's caller gives only what it holds."""
    numbers = [parse.enum_value(scope, "scopes", rule_pb2.Scope) for scope in request.scopes]
    if not numbers:
        raise errors.invalid_argument("scopes", "must name at least one scope")
    names = sorted({rule_pb2.Scope.Name(number).removeprefix("SCOPE_") for number in numbers})
    held = principal().scopes
    if held and not held.issuperset(names):
        missing = ", ".join(sorted(set(names) - held))
        raise errors.permission_denied(
            f"this credential does not hold {missing}", reason="SCOPE_NOT_HELD", scopes=missing
        )
    return names


async def _parse_expiry(session: AsyncSession, request: pb.CreateApiKeyRequest) -> datetime | None:
    if not request.HasField("expire_time"):
        return None
    try:
        expire_time = request.expire_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.invalid_argument("expire_time", "must be a time that exists") from None
    if expire_time <= (await session.scalars(select(server_now()))).one():
        raise errors.invalid_argument("expire_time", "must lie in the future")
    return expire_time


async def _refuse_too_many(session: AsyncSession, user: User) -> None:
    await session.get(User, user.id, with_for_update=True)
    active_query = (
        select(func.count()).select_from(ApiKey).where(ApiKey.owner_id == user.id, ApiKey.is_active)
    )
    active = (await session.scalars(active_query)).one()
    if active >= MAX_ACTIVE_KEYS:
        raise errors.resource_exhausted(
            f"an account may have {MAX_ACTIVE_KEYS} active keys: revoke one",
            reason="TOO_MANY_API_KEYS",
            retry_after_s=60,
        )
