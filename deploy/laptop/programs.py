"""The programs of an install as data: how each one starts, what it is told, when it is ready."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import bus
from deploy.laptop.broker import Broker, memory_limits
from deploy.laptop.ports import reach
from deploy.laptop.postgres import Postgres, SystemUser, as_system_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.laptop.install import Install

REPOSITORY = Path(__file__).parents[2]

# Two arenas and early returns to the system keep five idle Python services laptop-sized.
_PYTHON_LIMITS = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "PYTHONUNBUFFERED": "1",
}
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Program:
    """One long-lived process of an install.

    `prepare` runs before every start, `ready` tells whether the process does its work,
    `after_ready` is a command that runs once after each time it became ready, and `user` tells
    whom to start it as.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: Callable[[], bool]
    port: int | None = None
    directory: Path = REPOSITORY
    prepare: Callable[[], None] = lambda: None
    after_ready: list[str] | None = None
    stop_signal: int = signal.SIGTERM
    grace_s: float = 20.0
    user: Callable[[], SystemUser] = SystemUser


def postgres_of(install: Install) -> Postgres:
    """Return the Postgres of an install."""
    return Postgres(install.home, install.postgres_passwords)


def broker_of(install: Install) -> Broker:
    """Return the NATS server of an install."""
    return Broker(install.home, install.ports["nats"], install.nats_passwords)


def database(install: Install) -> Program:
    """Return Postgres as a program; SIGINT is its fast shutdown, which ends open sessions."""
    server = postgres_of(install)
    return Program(
        "postgres",
        server.command(),
        dict(os.environ),
        server.ready,
        directory=install.home / "postgres",
        prepare=server.prepare,
        stop_signal=signal.SIGINT,
        user=as_system_user,
    )


def message_bus(install: Install) -> Program:
    """Return NATS as a program; its streams are made again whenever it comes back."""
    server = broker_of(install)
    environment = dict(os.environ) | memory_limits()
    environment["ELODROME_NATS_URL"] = server.url
    environment["ELODROME_NATS_ADMIN_PASSWORD"] = install.nats_passwords[bus.ADMIN]
    return Program(
        "nats",
        server.command(),
        environment,
        server.ready,
        port=server.port,
        prepare=server.prepare,
        after_ready=[sys.executable, "-m", "deploy.streams"],
    )


def service(install: Install, name: str) -> Program:
    """Return a service as a program."""
    port = install.ports[name]
    http = install.ports["http"]
    ready = (lambda: answers(http, "/readyz")) if name == "gateway" else (lambda: listens(port))
    return Program(
        name,
        [sys.executable, "-m", f"services.{name}"],
        service_environment(install, name),
        ready,
        port=http if name == "gateway" else port,
    )


def service_environment(install: Install, name: str) -> dict[str, str]:
    """Return what a service is told: where everybody listens, and its own secrets only."""
    environment = dict(os.environ) | _PYTHON_LIMITS
    environment.setdefault("ELODROME_REFLECTION", "1")
    # Somebody watches: progress every two seconds instead of every ten.
    environment.setdefault("ELODROME_HEARTBEAT_S", "2")
    for peer in bus.SERVICES:
        port = install.ports[peer]
        environment[f"ELODROME_{peer.upper()}_GRPC_PORT"] = str(port)
        environment[f"ELODROME_{peer.upper()}_METRICS_PORT"] = str(install.ports[f"{peer} metrics"])
        environment[f"ELODROME_{peer.upper()}_ADDRESS"] = f"127.0.0.1:{port}"
        # Nobody probes here, and installs side by side would want the same ports.
        environment[f"ELODROME_{peer.upper()}_HEALTH_PORT"] = "0"
    return environment | {
        "ELODROME_PROFILE": "laptop",
        "ELODROME_HOME": str(install.home),
        "ELODROME_HTTP_PORT": str(install.ports["http"]),
        "ELODROME_KEYS_DIR": str(install.home / "keys"),
        "ELODROME_ARTIFACTS_URL": (install.home / "artifacts").as_uri(),
        "ELODROME_DATABASE_URL": postgres_of(install).url(name),
        "ELODROME_NATS_URL": broker_of(install).url,
        "ELODROME_NATS_USER": name,
        "ELODROME_NATS_PASSWORD": install.nats_passwords[name],
    }


def overrides(install: Install, name: str) -> dict[str, str]:
    """Return the KEY=VALUE lines of `environment/<name>.env`, read anew at every start."""
    path = install.home / "environment" / f"{name}.env"
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def listens(port: int) -> bool:
    """Return whether something accepts connections on a port of the loopback interface."""
    try:
        reach(port, _PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def answers(port: int, path: str) -> bool:
    """Return whether an HTTP GET on the loopback interface is answered with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    try:
        with reach(port, _PROBE_TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
