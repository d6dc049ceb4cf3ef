"""The database of an install: a role and a schema for each service, which no other one reads."""

from __future__ import annotations

DATABASE = "elodrome"
ROLES = ("gateway", "registry", "executor", "evaluator", "sessions")

_SETTINGS = {
    "statement_timeout": "30s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "60s",
    # A session holds some 18 MB; what a burst opened is closed again.
    "idle_session_timeout": "20s",
}


def role_sql(role: str, password: str) -> str:
    """Return what psql makes a service's role and schema with; safe to repeat.

    `password` must hold no quotation mark, as those that are generated do not.
    """
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
