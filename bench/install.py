"""An install of its own for a benchmark, in a fresh home and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil

from bench.http import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PORT_OFFSET = 7000


@dataclass(frozen=True)
class Install:
    """A running install: its directory and what it wrote into install.json."""

    home: Path
    record: dict[str, Any]

    @property
    def http_port(self) -> int:
        """The port of the gateway."""
        return int(self.record["ports"]["http"])

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return a channel straight to a service."""
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.record['ports'][service]}")

    async def admin(self) -> Connection:
        """Return a connection signed in as the administrator."""
        connection = await Connection.open(self.http_port)
        login = {"email": "admin", "password": self.record["admin_password"]}
        answer = await connection.json("POST", "/api/v1/auth/login", login)
        connection.token = answer["access_token"]
        return connection

    def processes(self) -> list[psutil.Process]:
        """Return every process of the install: the supervisor and all its descendants."""
        state = json.loads((self.home / "supervisor.json").read_text(encoding="utf-8"))
        supervisor = psutil.Process(state["supervisor"]["pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    def process(self, name: str) -> psutil.Process:
        """Return the process of one service."""
        module = f"services.{name}"
        return next(p for p in self.processes() if module in p.cmdline())


@contextmanager
def running(**environment: str) -> Iterator[Install]:
    """Start an install, yield it, stop it and remove its directory."""
    home = Path(tempfile.mkdtemp(prefix="elodrome-bench-"))
    settings = {"ELODROME_HOME": str(home), "ELODROME_PORT_OFFSET": str(PORT_OFFSET)}
    variables = os.environ | settings | environment
    laptop = [sys.executable, "-m", "deploy.laptop"]
    try:
        subprocess.run([*laptop, "up"], cwd=ROOT, env=variables, check=True)
        yield Install(home, json.loads((home / "install.json").read_text(encoding="utf-8")))
    finally:
        subprocess.run([*laptop, "down"], cwd=ROOT, env=variables, check=False)
        shutil.rmtree(home, ignore_errors=True)
