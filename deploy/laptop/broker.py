"""The bus listens on loopback only, syncs every write, and gives each service its own part only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from deploy import bus
from deploy.laptop.ports import free_port, reach

_REPOSITORY = Path(__file__).parents[2]


class BrokerError(RuntimeError):
    """The NATS server could not be started; the message carries its own words."""


def program() -> Path:
    """Return the `nats-server` of the wheel, which installs it beside the interpreter."""
    return Path(sys.executable).parent / "nats-server"


@dataclass(frozen=True)
class Broker:
    """The NATS server of one install: its files under `home`/nats, its port, its users."""

    home: Path
    port: int
    passwords: dict[str, str]

    @property
    def url(self) -> str:
        """The URL without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def config_path(self) -> Path:
        """The generated configuration file; it holds passwords and is readable by us only."""
        return self.home / "nats" / "nats.conf"

    def command(self) -> list[str]:
        """Return the command line of the server; it stays in the foreground and logs to stderr."""
        return [str(program()), "--config", str(self.config_path)]

    def prepare(self) -> None:
        """Write the configuration anew."""
        self.config_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config_path.touch(mode=0o600)
        listen, store = f"127.0.0.1:{self.port}", str(self.home / "nats" / "jetstream")
        config = bus.server_config(listen, store, self.passwords)
        self.config_path.write_text(config, encoding="utf-8")

    def ready(self) -> bool:
        """Return whether the server greets a client now."""
        try:
            with reach(self.port, timeout_s=1) as connection:
                return connection.recv(4096).startswith(b"INFO ")
        except OSError:
            return False


@dataclass
class RunningBroker:
    """A NATS server that this process started, for tests."""

    broker: Broker
    child: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The pid of the server."""
        return self.child.pid

    @property
    def url(self) -> str:
        """The URL without credentials."""
        return self.broker.url

    def password(self, user: str) -> str:
        """Return the password of a service or of the bus administrator."""
        return self.broker.passwords[user]

    def stop(self) -> None:
        """Stop the server and wait until it ended."""
        self.child.terminate()
        self.child.wait(timeout=30)

    def kill(self) -> None:
        """Kill the server as a power cut would."""
        self.child.kill()
        self.child.wait(timeout=30)


def start_nats(home: Path, port: int = 0, *, streams: bool = True) -> RunningBroker:
    """Start a private NATS server under `home` with its users, streams and consumers.

    Port 0 picks a free one. Raises BrokerError with the server's own words when it does not
    answer within 15 s.
    """
    broker = Broker(home, port or free_port(), bus.generate_passwords())
    broker.prepare()
    log = home / "nats.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            broker.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | memory_limits(),
            start_new_session=True,
        )
    _wait_ready(broker, child, log)
    if streams:
        _create_streams(broker)
    return RunningBroker(broker, child)


def _create_streams(broker: Broker) -> None:
    """Run the client apart: whoever supervises a server without calling it stays small."""
    secrets_of_admin = {
        "ELODROME_NATS_URL": broker.url,
        "ELODROME_NATS_ADMIN_PASSWORD": broker.passwords[bus.ADMIN],
    }
    command = [sys.executable, "-m", "deploy.streams"]
    subprocess.run(command, env=os.environ | secrets_of_admin, cwd=_REPOSITORY, check=True)


def memory_limits() -> dict[str, str]:
    """Return the environment that keeps the Go runtime of the server laptop-sized."""
    return {"GOMEMLIMIT": "64MiB", "GOMAXPROCS": "2"}


def _wait_ready(broker: Broker, child: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 15
    while not broker.ready():
        if child.poll() is not None or time.monotonic() > give_up:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            message = f"NATS did not start:\n{tail}"
            raise BrokerError(message)
        time.sleep(0.02)
