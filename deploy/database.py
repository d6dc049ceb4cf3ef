"""The database of an install: a role and a schema for each service, which no other one reads."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "elodrome"
ROLES = ("gateway", "registry", "executor", "evaluator", "sessions")

_SETTINGS = {
    "statement_timeout": "30s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "60s",
    # A session holds some 18 MB; what a burst opened is closed again.
    "idle_session_timeout": "20s",
}


def generate_passwords() -> dict[str, str]:
    """Return a random password for each service's role."""
    return {role: secrets.token_urlsafe(24) for role in ROLES}


def database_sql() -> str:
    """Return SQL for psql that creates the database, which nobody else then connects to."""
    return f"""
SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS
    (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
"""  # noqa: S608 - the name is ours


def roles_sql(passwords: Mapping[str, str]) -> str:
    """Return SQL for psql that creates a role and a schema for each service; safe to repeat.

    `passwords` is by role; none may hold a quotation mark, as those that are generated do not.
    """
    return "".join(_role_sql(role, passwords[role]) for role in ROLES)


def _role_sql(role: str, password: str) -> str:
    settings = _SETTINGS | {"search_path": role}
    return f"""
SELECT 'CREATE ROLE {role}' WHERE NOT EXISTS
    (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
ALTER ROLE {role} LOGIN PASSWORD '{password}';
GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {role};
CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role};
""" + "".join(  # noqa: S608 - the names are ours
        f"ALTER ROLE {role} SET {name} = '{value}';\n" for name, value in settings.items()
    )
