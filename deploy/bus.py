"""The event bus as one table: which streams exist, who reads them, what each service may do."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ADMIN = "bus_admin"


@dataclass(frozen=True)
class Stream:
    """One stream per proto package; its subjects are `<package>.<Event>.<id of the subject>`."""

    name: str
    package: str
    publisher: str

    @property
    def subjects(self) -> str:
        """The wildcard that covers every event of the package."""
        return f"{self.package}.>"


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer, named after the service that reads it."""

    stream: str
    service: str


STREAMS = (
    Stream("ACCOUNTS", "elodrome.accounts.v1", "gateway"),
    Stream("REGISTRY", "elodrome.registry.v1", "registry"),
    Stream("EXECUTOR", "elodrome.executor.v1", "executor"),
    Stream("EVALUATOR", "elodrome.evaluator.v1", "evaluator"),
    Stream("SESSIONS", "elodrome.sessions.v1", "sessions"),
)
CONSUMERS = (
    Consumer("EVALUATOR", "registry"),
    Consumer("REGISTRY", "evaluator"),
    Consumer("EXECUTOR", "evaluator"),
    Consumer("REGISTRY", "sessions"),
)
SERVICES = tuple(stream.publisher for stream in STREAMS)


@dataclass(frozen=True)
class Permissions:
    """What one bus user may publish and subscribe to; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(service: str) -> Permissions:
    """Return the allow-list of a service: its own events, its own consumers, its own inbox."""
    publish = [stream.subjects for stream in STREAMS if stream.publisher == service]
    for consumer in CONSUMERS:
        if consumer.service == service:
            name = f"{consumer.stream}.{consumer.service}"
            publish += [
                f"$JS.API.CONSUMER.MSG.NEXT.{name}",
                f"$JS.API.CONSUMER.INFO.{name}",
                f"$JS.ACK.{name}.>",
            ]
    return Permissions(tuple(publish), (f"{inbox_prefix(service)}.>",))


def admin_permissions() -> Permissions:
    """Return the allow-list of the user that creates streams and consumers and reads no event."""
    return Permissions(
        ("$JS.API.INFO", "$JS.API.STREAM.*.*", "$JS.API.CONSUMER.*.>"),
        (f"{inbox_prefix(ADMIN)}.>",),
    )


def inbox_prefix(user: str) -> str:
    """Return the prefix of a user's reply subjects, which nobody else may read."""
    return f"_INBOX_{user}"


def generate_passwords() -> dict[str, str]:
    """Return a random password for each service and for the bus administrator."""
    return {user: secrets.token_urlsafe(24) for user in (ADMIN, *SERVICES)}


def server_config(listen: str, store: str, passwords: Mapping[str, str]) -> str:
    """Return the configuration of a server that listens on `host:port` and keeps events in `store`.

    `passwords` is by user: every service and `bus_admin`.
    """
    entries = "".join(f"    {json.dumps(user)}\n" for user in users(passwords))
    return f"""\
server_name: elodrome
listen: "{listen}"
max_payload: 1MB
jetstream {{
  store_dir: {json.dumps(store)}
  sync_interval: always
  max_memory_store: 33554432
  max_file_store: 8589934592
}}
authorization {{
  users: [
{entries}  ]
}}
"""


def users(passwords: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every user of the bus as an entry of a server's configuration."""
    rights = {ADMIN: admin_permissions(), **{name: permissions(name) for name in SERVICES}}
    return [
        {
            "user": name,
            "password": passwords[name],
            "permissions": {
                "publish": {"allow": list(allowed.publish)},
                "subscribe": {"allow": list(allowed.subscribe)},
            },
        }
        for name, allowed in rights.items()
    ]
