"""Signing up, signing in, and the accounts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.accounts.v1 import account_service_pb2 as pb
from elodrome.accounts.v1 import account_service_pb2_grpc, events_pb2
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from kit import errors, page, parse
from kit.auth import principal
from kit.db import new_id, server_now
from kit.outbox import emit
from services.gateway.models import user as users
from services.gateway.models.user import SignIn, User
from services.gateway.signing_in import Tokens, current_user, use_refresh_token

if TYPE_CHECKING:
    import grpc
    from elodrome.accounts.v1 import user_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.gateway.attempts import Attempts
    from services.gateway.caller import Seal
    from services.gateway.passwords import Passwords
    from services.gateway.quotas import Quotas
    from services.gateway.settings import GatewaySettings

    Context = grpc.aio.ServicerContext

_HOUR_S = 3600


@dataclass(frozen=True)
class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """Implements AccountService."""

    settings: GatewaySettings
    sessions: Sessions
    passwords: Passwords
    attempts: Attempts
    quotas: Quotas
    tokens: Tokens
    seal: Seal

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.SignInResponse:
        email = users.parse_email(request.email)
        password = users.parse_password(request.password)
        full_name = users.parse_full_name(request.full_name)
        if request.username:
            users.parse_username(request.username)
        caller = self.seal.caller(context)
        await self.quotas.spend(
            f"register:{caller.ip_address}",
            self.settings.registrations_per_hour_address,
            window_s=_HOUR_S,
            reason="TOO_MANY_REGISTRATIONS",
        )
        password_hash = await self.passwords.hash(password)
        async with self.sessions.begin() as session:
            username = request.username or await users.free_username(session, email)
            row = {
                "email": email,
                "username": username,
                "username_key": username.lower(),
                "full_name": full_name,
                "password_hash": password_hash,
                "role": self.settings.default_role,
            }
            user = await _add(session, row)
            answer = await self.tokens.begin(session, user, caller)
        if caller.through_rest:
            await context.send_initial_metadata(self.tokens.cookies(answer, caller))
        return answer

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.SignInResponse:
        name = parse.text(request.email, "email", max_length=254).lower()
        caller = self.seal.caller(context)
        async with self.sessions.begin() as session:
            user = await session.scalar(
                select(User).where(or_(User.email == name, User.username_key == name)).limit(1)
            )
            account = user.id if user else name
            attempt = await self.attempts.reserve(session, account, caller.ip_address)
        known = user.password_hash if user and user.is_active else None
        is_right = await self.passwords.check(known, request.password)
        if user is None or not is_right:
            async with self.sessions.begin() as session:
                await self.attempts.failed(session, attempt)
            raise errors.unauthenticated("wrong address or password", reason="BAD_CREDENTIALS")
        async with self.sessions.begin() as session:
            await self.attempts.succeeded(session, account)
            user = await session.get_one(User, user.id, with_for_update=True)
            user.last_login_time = await session.scalar(server_now().select())
            await session.flush()
            answer = await self.tokens.begin(session, user, caller)
        if caller.through_rest:
            await context.send_initial_metadata(self.tokens.cookies(answer, caller))
        return answer

    async def Logout(self, _request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        async with self.sessions.begin() as session:
            await current_user(session)
            if session_id := principal().session_id:
                sign_in = await session.get_one(SignIn, session_id)
                sign_in.revoke_time = await session.scalar(server_now().select())
        caller = self.seal.caller(context)
        if caller.through_rest:
            await context.send_initial_metadata(self.tokens.no_cookies(caller))
        return pb.LogoutResponse(ok=True)

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: Context
    ) -> pb.SignInResponse:
        caller = self.seal.caller(context)
        token = request.refresh_token or caller.refresh_token
        answer = None
        async with self.sessions.begin() as session:
            if holder := await use_refresh_token(session, token):
                answer = await self.tokens.issue(session, *holder)
        if answer is None:
            raise errors.unauthenticated(
                "the refresh token was used before: the session is closed",
                reason="REFRESH_TOKEN_REUSED",
            )
        if caller.through_rest:
            await context.send_initial_metadata(self.tokens.cookies(answer, caller))
        return answer

    async def GetMe(self, _request: pb.GetMeRequest, _context: Context) -> user_pb2.User:
        async with self.sessions() as session:
            return (await current_user(session)).to_proto()

    async def UpdateMe(self, request: pb.UpdateMeRequest, _context: Context) -> user_pb2.User:
        password_hash = await self._new_password(request)
        async with self.sessions.begin() as session:
            user = await current_user(session)
            if request.HasField("username"):
                await _rename(session, user, users.parse_username(request.username))
            if request.HasField("full_name"):
                user.full_name = users.parse_full_name(request.full_name)
            if password_hash:
                user.password_hash = password_hash
                await users.end_sessions(session, user.id, but=principal().session_id)
            await session.flush()
            return user.to_proto()

    async def _new_password(self, request: pb.UpdateMeRequest) -> str:
        """Return the hash of the new password, empty when none is asked for."""
        if not request.HasField("password"):
            return ""
        password = users.parse_password(request.password)
        async with self.sessions.begin() as session:
            user = await current_user(session)
            attempt = await self.attempts.reserve(session, user.id, "")
        if not await self.passwords.check(user.password_hash, request.current_password):
            raise errors.invalid_argument(
                "current_password", "is not the account's password", reason="WRONG_PASSWORD"
            )
        async with self.sessions.begin() as session:
            await self.attempts.withdraw(session, attempt)
        return await self.passwords.hash(password)

    async def ListUsers(
        self, request: pb.ListUsersRequest, _context: Context
    ) -> pb.ListUsersResponse:
        query = select(User)
        if request.HasField("role"):
            query = query.where(User.role == users.parse_role(request.role))
        if request.HasField("is_active"):
            query = query.where(User.is_active == request.is_active)
        if request.query:
            part = parse.text(request.query, "query", max_length=100).lower()
            query = query.where(
                or_(
                    User.email.contains(part, autoescape=True),
                    User.username_key.contains(part, autoescape=True),
                )
            )
        async with self.sessions() as session:
            items, token, total = await page.list_page(
                session, query, User, request, convert=User.to_proto
            )
        return pb.ListUsersResponse(items=items, next_page_token=token, total=total)

    async def GetUser(self, request: pb.GetUserRequest, _context: Context) -> user_pb2.User:
        user_id = parse.uuid(request.id, "id")
        async with self.sessions() as session:
            user = await session.get(User, user_id)
        if user is None:
            raise errors.not_found("user", user_id)
        return user.to_proto()

    async def UpdateUser(self, request: pb.UpdateUserRequest, _context: Context) -> user_pb2.User:
        user_id = parse.uuid(request.id, "id")
        role = users.parse_role(request.role) if request.HasField("role") else ""
        async with self.sessions.begin() as session:
            user = await session.get(User, user_id, with_for_update=True)
            if user is None:
                raise errors.not_found("user", user_id)
            ends = request.HasField("is_active") and not request.is_active and user.is_active
            if user.role == "ADMIN" and user.is_active and (ends or role not in {"", "ADMIN"}):
                await users.require_another_admin(session, user)
            if role:
                user.role = role
            if request.HasField("full_name"):
                user.full_name = users.parse_full_name(request.full_name)
            if request.HasField("is_active"):
                user.is_active = request.is_active
            if ends:
                await users.end_sessions(session, user.id)
                ended = events_pb2.UserDeactivated(user_id=user.id, actor_id=principal().user_id)
                emit(session, ended, about=user.id)
            await session.flush()
            return user.to_proto()


async def _add(session: AsyncSession, row: dict[str, str]) -> User:
    """Store a new account; raise ALREADY_EXISTS when its address or name is taken."""
    values = {**row, "id": new_id(), "is_active": True}
    user = await session.scalar(
        insert(User).values(values).on_conflict_do_nothing().returning(User)
    )
    if user is None:
        taken = await session.scalar(select(User.id).where(User.email == row["email"]))
        raise _taken("email", row["email"]) if taken else _taken("username", row["username"])
    event = events_pb2.UserRegistered(
        user_id=user.id, username=user.username, role=user.to_proto().role
    )
    emit(session, event, about=user.id)
    return user


async def _rename(session: AsyncSession, user: User, username: str) -> None:
    user.rename(username)
    try:
        await session.flush()
    except IntegrityError:
        raise _taken("username", username) from None


def _taken(field: str, value: str) -> errors.RpcError:
    return errors.already_exists(
        f"{field} {value} is taken", reason=f"{field.upper()}_TAKEN", field=field
    )
