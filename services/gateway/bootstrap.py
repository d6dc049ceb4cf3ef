"""`python -m services.gateway.bootstrap`: makes sure that there is an admin.

Reads the password from standard input. Run again it changes nothing; with another password it
sets that one and ends the admin's sessions. The account's address is an argument.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from sqlalchemy import select

from kit import db, errors
from services.gateway.models import user as users
from services.gateway.models.user import User
from services.gateway.passwords import Passwords
from services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

USERNAME = "admin"
EMAIL = "admin@elodrome.local"


async def ensure_admin(url: str, email: str, password: str, *, memory_kib: int) -> str:
    """Create or update the account `admin`; return `created`, `updated` or `unchanged`.

    Raises INVALID_ARGUMENT for an address or a password that no account may have.
    """
    email, password = users.parse_email(email), users.parse_password(password)
    engine = db.open_engine(url, pool_size=1)
    passwords = Passwords(threads=1, memory_kib=memory_kib)
    try:
        async with db.Sessions(engine).begin() as session:
            return await _ensure(session, passwords, email, password)
    finally:
        passwords.close()
        await engine.dispose()


async def _ensure(session: AsyncSession, passwords: Passwords, email: str, password: str) -> str:
    query = select(User).where(User.username_key == USERNAME).with_for_update()
    admin = await session.scalar(query)
    if admin is None:
        admin = User(full_name="Administrator", is_active=True)
        admin.rename(USERNAME)
        session.add(admin)
        outcome = "created"
    elif (
        admin.is_active
        and (admin.role, admin.email) == ("ADMIN", email)
        and await passwords.check(admin.password_hash, password)
    ):
        return "unchanged"
    else:
        await users.end_sessions(session, admin.id)
        outcome = "updated"
    admin.email, admin.role, admin.is_active = email, "ADMIN", True
    admin.password_hash = await passwords.hash(password)
    return outcome


def main() -> None:
    """Read the password and say what was done."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway.bootstrap")
    parser.add_argument("--email", default=EMAIL, help="address of the admin")
    arguments = parser.parse_args()
    password = sys.stdin.readline().rstrip("\n")
    settings = GatewaySettings.load()
    try:
        outcome = asyncio.run(
            ensure_admin(
                settings.database_url,
                arguments.email,
                password,
                memory_kib=settings.password_memory_kib,
            )
        )
    except errors.RpcError as error:
        sys.exit(error.message)
    sys.stdout.write(f"{USERNAME} {outcome}\n")


if __name__ == "__main__":
    main()
