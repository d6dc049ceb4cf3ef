"""Makes what compose.yaml must not hold: passwords, keys, and the files that are made of them.

`python -m deploy.compose` writes them to `.compose` and names that place in `.env`. What is there
stays as it is, so running it again changes nothing; a password that was deleted becomes another.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import bus, database
from kit import auth

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
VARIABLE = "ELODROME_SECRETS"
_STORE_USER = "elodrome"


def write(place: Path) -> None:
    """Write every file that compose.yaml mounts to a directory, which only its owner can enter.

    The files in it are readable by all: they are mounted one by one, into containers that run as
    other users.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    auth.generate_keys(place)
    names = {name: _kept(place / name) for name in _passwords()}
    roles = {role: names[f"{role}_database_password"] for role in database.ROLES}
    users = {service: names[f"{service}_nats_password"] for service in bus.SERVICES}
    users[bus.ADMIN] = names["nats_admin_password"]
    keys = {
        "accessKey": names["store_access_key_id"],
        "secretKey": names["store_secret_access_key"],
    }
    identity = {"name": _STORE_USER, "credentials": [keys], "actions": ["Admin"]}
    made = {
        "roles.sql": database.database_sql() + database.roles_sql(roles),
        "nats.conf": bus.server_config("0.0.0.0:4222", "/data", users),
        "s3.json": json.dumps({"identities": [identity]}, indent=2),
    }
    for name, text in made.items():
        (place / name).write_text(text, encoding="utf-8")
    for path in place.iterdir():
        path.chmod(0o644)


def _passwords() -> Iterator[str]:
    for service in bus.SERVICES:
        yield f"{service}_database_password"
        yield f"{service}_nats_password"
    yield from ("nats_admin_password", "postgres_password", "admin_password")
    yield from ("store_access_key_id", "store_secret_access_key")


def _kept(path: Path) -> str:
    """Return what a file holds; a new password where there is none yet."""
    if not path.exists():
        path.write_text(secrets.token_hex(16), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def main() -> int:
    """Write secrets and `.env` to the root of the project; 0 when Compose can start."""
    place = ROOT / ".compose"
    write(place)
    line, environment = f"{VARIABLE}={place}", ROOT / ".env"
    text = environment.read_text(encoding="utf-8") if environment.exists() else ""
    if VARIABLE not in text:
        environment.write_text(f"{text}{line}\n", encoding="utf-8")
    print(f"the administrator's password is in {place / 'admin_password'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
