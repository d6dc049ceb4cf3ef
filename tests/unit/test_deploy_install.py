"""Ports come from the environment, then from memory, and a wrong one is named."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from deploy.bus import SERVICES
from deploy.laptop.install import InstallError, choose_ports, load, open_install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# IP_LOCAL_PORT_RANGE of <linux/in.h>, which Python does not name.
_LOCAL_PORT_RANGE = 51


def test_default_ports_are_the_documented_ones() -> None:
    ports = choose_ports({}, {})
    assert ports["http"] == 8080
    assert ports["nats"] == 4222
    assert [ports[s] for s in ("gateway", "registry", "executor", "evaluator", "sessions")] == [
        50050,
        50051,
        50052,
        50053,
        50054,
    ]
    assert ports["sessions metrics"] == 9104


def test_the_offset_moves_every_port() -> None:
    moved = choose_ports({"ELODROME_PORT_OFFSET": "1000"}, {})
    assert moved == {name: port + 1000 for name, port in choose_ports({}, {}).items()}


def test_a_ports_own_variable_wins_over_offset_and_memory() -> None:
    environment = {"ELODROME_PORT_OFFSET": "10", "ELODROME_HTTP_PORT": "9999"}
    ports = choose_ports(environment, {"http": 7000, "nats": 7001})
    assert ports["http"] == 9999
    assert ports["nats"] == 4232


def test_a_shell_without_variables_finds_the_ports_of_the_first_start() -> None:
    assert choose_ports({}, {"http": 7000})["http"] == 7000


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ELODROME_HTTP_PORT": "eighty"}, "ELODROME_HTTP_PORT: 'eighty' is not a number"),
        ({"ELODROME_HTTP_PORT": "0"}, "ELODROME_HTTP_PORT: 0 is not a port"),
        ({"ELODROME_PORT_OFFSET": "60000"}, "is not a port between 1 and 65535"),
        ({"ELODROME_HTTP_PORT": "50051"}, "ELODROME_REGISTRY_GRPC_PORT: port 50051 is already"),
    ],
)
def test_a_wrong_port_is_refused_by_name(environment: dict[str, str], words: str) -> None:
    with pytest.raises(InstallError, match=words.replace("(", r"\(")):
        choose_ports(environment, {})


def test_an_install_keeps_its_secrets_between_starts(tmp_path: Path) -> None:
    first = open_install(tmp_path / "home", {})
    second = open_install(tmp_path / "home", {"ELODROME_PORT_OFFSET": "100"})
    assert second.postgres_passwords == first.postgres_passwords
    assert second.admin_password == first.admin_password
    assert second.ports["http"] == first.ports["http"] + 100
    assert load(tmp_path / "home") == second


def test_a_moved_home_is_its_own_place(tmp_path: Path) -> None:
    open_install(tmp_path / "old", {})
    (tmp_path / "old").rename(tmp_path / "new")
    moved = open_install(tmp_path / "new", {})
    assert moved.home == tmp_path / "new"
    stored = json.loads((tmp_path / "new" / "install.json").read_text(encoding="utf-8"))
    assert stored["home"] == str(tmp_path / "new")


def test_a_taken_port_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        install = open_install(tmp_path / "home", {"ELODROME_EVALUATOR_GRPC_PORT": str(port)})
        sentence = install.taken_port()
    assert sentence is not None
    assert f"port {port} (evaluator)" in sentence
    assert "ELODROME_EVALUATOR_GRPC_PORT" in sentence


def outgoing_port() -> int:
    """Return a free port among those that connections which go out leave from."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def leaving() -> Iterator[Callable[[int], socket.socket]]:
    """Make sockets for connections that go out, for which the kernel has one port to choose."""
    with contextlib.ExitStack() as stack:

        def make(port: int) -> socket.socket:
            made = stack.enter_context(socket.socket())
            try:
                made.setsockopt(socket.IPPROTO_IP, _LOCAL_PORT_RANGE, struct.pack("HH", port, port))
            except OSError:
                pytest.skip("this kernel, before 6.3, leaves no choice of ports to a socket")
            return made

        yield make


def test_no_connection_that_goes_out_takes_the_port_of_a_service(
    tmp_path: Path, leaving: Callable[[int], socket.socket]
) -> None:
    ports = {f"ELODROME_{service.upper()}_GRPC_PORT": str(outgoing_port()) for service in SERVICES}
    install = open_install(tmp_path / "home", ports)
    port = install.ports["executor"]
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, contextlib.ExitStack() as held:
        with leaving(port) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.connect(elsewhere.getsockname())
        for holder in install.hold_ports():
            held.enter_context(holder)
        with pytest.raises(OSError, match="Cannot assign"):
            leaving(port).connect(elsewhere.getsockname())
        # Nobody answers there, until the service listens.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        service = held.enter_context(socket.socket())
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        service.bind(("127.0.0.1", port))
        service.listen()
        socket.create_connection(("127.0.0.1", port)).close()
