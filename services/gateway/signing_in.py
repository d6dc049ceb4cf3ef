"""Sessions as their owners hold them: an access token, a refresh token, and two cookies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.accounts.v1 import account_service_pb2
from sqlalchemy import bindparam, delete, select

from kit import errors
from kit.auth import Principal, Signer, principal
from kit.db import new_id, server_now
from services.gateway.caller import REFRESH_COOKIE, TOKEN_COOKIE
from services.gateway.models.user import RefreshToken, SignIn, User, digest

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.gateway.caller import Caller
    from services.gateway.settings import GatewaySettings

_REFRESH_PATH = "/api/v1/auth"


@dataclass(frozen=True)
class Tokens:
    """Makes what a signed-in person holds."""

    settings: GatewaySettings
    signer: Signer

    async def begin(
        self, session: AsyncSession, user: User, caller: Caller
    ) -> account_service_pb2.SignInResponse:
        """Start a session of an account."""
        sign_in = SignIn(
            id=new_id(),
            user_id=user.id,
            ip_address=caller.ip_address,
            user_agent=caller.user_agent,
            expire_time=server_now(),
        )
        session.add(sign_in)
        return await self.issue(session, user, sign_in)

    async def issue(
        self, session: AsyncSession, user: User, sign_in: SignIn
    ) -> account_service_pb2.SignInResponse:
        """Return the next pair of tokens of a session."""
        ttl_s = self.settings.access_token_ttl_s
        refresh_token = await RefreshToken.issue(
            session, sign_in, self.settings.refresh_token_ttl_s
        )
        holder = Principal(
            kind="user",
            subject=user.id,
            roles=frozenset({user.role}),
            session_id=sign_in.id,
        )
        return account_service_pb2.SignInResponse(
            access_token=self.signer.access(holder, ttl_s),
            token_type="bearer",  # noqa: S106 - the scheme's name
            expires_in_s=ttl_s,
            refresh_token=refresh_token,
            user=user.to_proto(),
        )

    def cookies(
        self, answer: account_service_pb2.SignInResponse, caller: Caller
    ) -> list[tuple[str, str]]:
        """Return the initial metadata that sets the cookies of a session."""
        refresh_ttl_s = self.settings.refresh_token_ttl_s
        return [
            self._cookie(TOKEN_COOKIE, answer.access_token, answer.expires_in_s, caller),
            self._cookie(REFRESH_COOKIE, answer.refresh_token, refresh_ttl_s, caller),
        ]

    def no_cookies(self, caller: Caller) -> list[tuple[str, str]]:
        """Return the initial metadata that removes the cookies of a session."""
        return [self._cookie(name, "", 0, caller) for name in (TOKEN_COOKIE, REFRESH_COOKIE)]

    def _cookie(self, name: str, value: str, ttl_s: int, caller: Caller) -> tuple[str, str]:
        refresh = name == REFRESH_COOKIE
        scope = f"Path={_REFRESH_PATH}; SameSite=Strict" if refresh else "Path=/; SameSite=Lax"
        secure = caller.is_https or self.settings.public_url.startswith("https://")
        ending = "; Secure" if secure else ""
        return "http-set-cookie", f"{name}={value}; Max-Age={ttl_s}; HttpOnly; {scope}{ending}"


_CURRENT = (
    select(User, SignIn)
    .outerjoin_from(User, SignIn, SignIn.id == bindparam("sign_in_id"))
    .where(User.id == bindparam("user_id"))
)


async def current_user(session: AsyncSession) -> User:
    """Return the account that calls.

    Raises UNAUTHENTICATED when the account is inactive or the session has ended: a token proves
    only what was true when it was signed.
    """
    caller = principal()
    ids = {"user_id": caller.user_id, "sign_in_id": caller.session_id or None}
    row = (await session.execute(_CURRENT, ids)).one_or_none()
    if row is None or not row.User.is_active:
        raise signed_out()
    if caller.session_id and (row.SignIn is None or row.SignIn.revoke_time is not None):
        raise signed_out()
    return row.User


def signed_out() -> errors.RpcError:
    """Say that the session is over."""
    return errors.unauthenticated("the session has ended: sign in again", reason="SIGNED_OUT")


async def use_refresh_token(session: AsyncSession, token: str) -> tuple[User, SignIn] | None:
    """Spend a refresh token; return whose it is, or None when it had been spent before.

    A token that was spent before was stolen, from this caller or by this caller: its session is
    revoked. Raises UNAUTHENTICATED for a token that is unknown, expired or of an ended session.
    """
    found = await session.get(RefreshToken, digest(token), with_for_update=True)
    if found is None:
        raise _bad_refresh_token()
    sign_in = await session.get_one(SignIn, found.sign_in_id, with_for_update=True)
    now = (await session.scalars(select(server_now()))).one()
    if found.use_time is not None:
        sign_in.revoke_time = sign_in.revoke_time or now
        return None
    user = await session.get_one(User, sign_in.user_id)
    if found.expire_time <= now or sign_in.revoke_time is not None or not user.is_active:
        raise _bad_refresh_token()
    found.use_time = now
    return user, sign_in


async def sweep(session: AsyncSession) -> None:
    """Forget sessions that nobody can continue any more, and their refresh tokens."""
    await session.execute(delete(SignIn).where(SignIn.expire_time < server_now()))


def _bad_refresh_token() -> errors.RpcError:
    return errors.unauthenticated("the refresh token does not hold", reason="BAD_REFRESH_TOKEN")
