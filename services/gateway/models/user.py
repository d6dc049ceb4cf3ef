"""Accounts, their sessions, and the refresh tokens that keep a session alive."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from elodrome.accounts.v1 import user_pb2
from elodrome.auth.v1 import rule_pb2
from sqlalchemy import CheckConstraint, ForeignKey, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from kit import errors, parse
from kit.db import Base, CreateTime, Id, Reference, UpdateTime, server_now

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

ROLES = ("ADMIN", "OPERATOR", "USER", "VIEWER", "PLAYER")
"""Roles that an account may have, most powerful first."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,39}")
_PASSWORD_LENGTHS = range(10, 201)


class User(Base):
    """A person's account."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint(f"role IN {ROLES}", name="role"),)

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(unique=True)
    """Lower case, so that unique means unique."""
    username: Mapped[str]
    username_key: Mapped[str] = mapped_column(unique=True)
    """The username in lower case."""
    full_name: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str]
    role: Mapped[str]
    is_active: Mapped[bool] = mapped_column(default=True)
    last_login_time: Mapped[datetime | None]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    def rename(self, username: str) -> None:
        """Give the account another public name."""
        self.username = username
        self.username_key = username.lower()

    def to_proto(self) -> user_pb2.User:
        """Return the account as callers see it."""
        return user_pb2.User(
            id=self.id,
            email=self.email,
            username=self.username,
            full_name=self.full_name,
            role=f"ROLE_{self.role}",
            is_active=self.is_active,
            last_login_time=self.last_login_time,
            create_time=self.create_time,
            update_time=self.update_time,
        )


class SignIn(Base):
    """A session: from one sign-in until sign-out, revocation or expiry."""

    __tablename__ = "sign_ins"

    id: Mapped[Id]
    user_id: Mapped[Reference] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    ip_address: Mapped[str]
    user_agent: Mapped[str]
    create_time: Mapped[CreateTime]
    expire_time: Mapped[datetime]
    revoke_time: Mapped[datetime | None]


class RefreshToken(Base):
    """A refresh token by its SHA-256; it works once."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    sign_in_id: Mapped[Reference] = mapped_column(
        ForeignKey("sign_ins.id", ondelete="CASCADE"), index=True
    )
    create_time: Mapped[CreateTime]
    expire_time: Mapped[datetime] = mapped_column(index=True)
    use_time: Mapped[datetime | None]

    @classmethod
    async def issue(cls, session: AsyncSession, sign_in: SignIn, ttl_s: int) -> str:
        """Add the session's next token and return it; the session lives as long as the token."""
        token = secrets.token_urlsafe(32)
        now = (await session.scalars(select(server_now()))).one()
        expire_time = now + timedelta(seconds=ttl_s)
        sign_in.expire_time = expire_time
        session.add(cls(token_hash=digest(token), sign_in_id=sign_in.id, expire_time=expire_time))
        return token


def digest(secret: str) -> str:
    """Return the SHA-256 of a random secret, as hex; such a secret needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def end_sessions(session: AsyncSession, user_id: str, *, but: str = "") -> None:
    """Revoke every session of an account, except one."""
    ended = update(SignIn).where(SignIn.user_id == user_id, SignIn.revoke_time.is_(None))
    if but:
        ended = ended.where(SignIn.id != but)
    await session.execute(ended.values(revoke_time=server_now()))


async def require_another_admin(session: AsyncSession, user: User) -> None:
    """Refuse to take away the last active admin; two at once wait for each other."""
    admins = select(User.id).where(User.role == "ADMIN", User.is_active).with_for_update()
    if set(await session.scalars(admins)) <= {user.id}:
        raise errors.failed_precondition(
            "the install needs an active admin", reason="LAST_ADMIN", user_id=user.id
        )


async def free_username(session: AsyncSession, email: str) -> str:
    """Return a username that nobody has, made from an address."""
    stem = re.sub(r"[^a-z0-9._-]", "", email.partition("@")[0].lower()).lstrip("._-")[:32]
    stem = stem if _USERNAME.fullmatch(stem) else f"user-{stem}".rstrip("-")
    taken = await session.scalar(
        select(func.count()).select_from(User).where(User.username_key == stem)
    )
    return f"{stem}-{secrets.token_hex(3)}" if taken else stem


def parse_email(value: str) -> str:
    """Return the address in lower case; raise INVALID_ARGUMENT when it is none."""
    address = value.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise errors.invalid_argument("email", "must be an address such as ada@example.org")
    return address


def parse_username(value: str) -> str:
    """Return the username; raise INVALID_ARGUMENT unless it keeps the rule."""
    if not _USERNAME.fullmatch(value):
        rule = "must be 2..40 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        raise errors.invalid_argument("username", rule)
    return value


def parse_password(value: str) -> str:
    """Return the password; raise INVALID_ARGUMENT when it is too short or too long."""
    if len(value) not in _PASSWORD_LENGTHS:
        raise errors.invalid_argument("password", "must have 10..200 characters")
    return value


def parse_role(value: int) -> str:
    """Return the role's name; raise INVALID_ARGUMENT when no account may have it."""
    name = rule_pb2.Role.Name(value).removeprefix("ROLE_") if value in _ROLE_NUMBERS else ""
    if name not in ROLES:
        raise errors.invalid_argument("role", f"must be one of {', '.join(ROLES)}")
    return name


def parse_full_name(value: str) -> str:
    """Return the name without surrounding blanks."""
    return parse.text(value, "full_name", max_length=120, min_length=0)


_ROLE_NUMBERS = set(rule_pb2.Role.values())
