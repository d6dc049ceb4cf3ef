"""What an install remembers between starts: its ports and passwords, readable by its owner only."""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import bus
from deploy.bus import SERVICES
from deploy.laptop import postgres
from kit import files

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET_VARIABLE = "ELODROME_PORT_OFFSET"
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class PortRule:
    """One port of an install: the variable that sets it and the number it has by default."""

    variable: str
    default: int


PORTS: dict[str, PortRule] = (
    {"http": PortRule("ELODROME_HTTP_PORT", 8080), "nats": PortRule("ELODROME_NATS_PORT", 4222)}
    | {s: PortRule(f"ELODROME_{s.upper()}_GRPC_PORT", 50050 + i) for i, s in enumerate(SERVICES)}
    | {
        f"{s} metrics": PortRule(f"ELODROME_{s.upper()}_METRICS_PORT", 9100 + i)
        for i, s in enumerate(SERVICES)
    }
)


class InstallError(RuntimeError):
    """The install cannot be used as it is; the message says what to change."""


@dataclass
class Install:
    """One install: the directory that holds it, its ports by name and its secrets.

    The administrator's password is kept beside the others because the machine's owner can read
    them all anyway; nothing else on disk holds it in clear.
    """

    home: Path
    ports: dict[str, int]
    postgres_passwords: dict[str, str] = field(default_factory=postgres.generate_passwords)
    nats_passwords: dict[str, str] = field(default_factory=bus.generate_passwords)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    admin_shown: bool = False

    @property
    def url(self) -> str:
        """Where the platform answers people."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def logs(self) -> Path:
        """The directory that holds one log file per process."""
        return self.home / "logs"

    def save(self) -> None:
        """Write install.json anew, so that a crash leaves either the old or the new one."""
        path = self.home / "install.json"
        text = json.dumps(asdict(self) | {"home": str(self.home)}, indent=2)
        files.replace(path, text.encode())

    def hold_ports(self) -> list[socket.socket]:
        """Keep connections that go out from this machine off the ports of the services.

        Those lie where the kernel takes ports for such connections from, and one that lasts would
        keep a service from starting. A service of the same user listens there all the same
        (SO_REUSEPORT), and what only holds a port is connected to by nobody.
        """
        held = []
        for name in SERVICES:
            holder = socket.socket()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", self.ports[name]))
            held.append(holder)
        return held

    def taken_port(self) -> str | None:
        """Return a sentence about the first port that is taken, None when all are free."""
        for name, port in self.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    return (
                        f"port {port} ({name}) cannot be used: {error.strerror}. "
                        f"Choose another with {PORTS[name].variable}, "
                        f"or move every port with {OFFSET_VARIABLE}"
                    )
        return None


def home_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory of the install that the environment means, `.elodrome` by default."""
    return Path(environment.get("ELODROME_HOME") or ".elodrome").resolve()


def load(home: Path) -> Install | None:
    """Return the install that lives in `home`, None when there is none yet."""
    path = home / "install.json"
    if not path.exists():
        return None
    return Install(**json.loads(path.read_text(encoding="utf-8")) | {"home": home})


def open_install(home: Path, environment: Mapping[str, str]) -> Install:
    """Load or create the install in `home`; ports named by the environment win over stored ones.

    Raises InstallError when a port variable is not a port number.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    stored = load(home)
    remembered = stored.ports if stored else {}
    install = stored or Install(home, {})
    install.ports = choose_ports(environment, remembered)
    for directory in (install.logs, home / "environment"):
        directory.mkdir(mode=0o700, exist_ok=True)
    install.save()
    return install


def choose_ports(environment: Mapping[str, str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Return every port: its own variable first, then the offset, then memory, then the default.

    Raises InstallError when a variable is not a number or leads outside 1..65535.
    """
    offset = _number(environment, OFFSET_VARIABLE)
    chosen = {}
    for name, rule in PORTS.items():
        own = _number(environment, rule.variable)
        shifted = None if offset is None else rule.default + offset
        candidates = (own, shifted, remembered.get(name), rule.default)
        chosen[name] = next(port for port in candidates if port is not None)
        if not 1 <= chosen[name] <= _HIGHEST_PORT:
            message = f"{rule.variable}: {chosen[name]} is not a port between 1 and {_HIGHEST_PORT}"
            raise InstallError(message)
    _refuse_shared(chosen)
    return chosen


def _refuse_shared(chosen: Mapping[str, int]) -> None:
    owners: dict[int, str] = {}
    for name, port in chosen.items():
        first = owners.setdefault(port, name)
        if first != name:
            message = f"{PORTS[name].variable}: port {port} is already meant for {first}"
            raise InstallError(message)


def _number(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        message = f"{variable}: {text!r} is not a number"
        raise InstallError(message) from None
