"""Ports: which are free, and that nobody listens where nobody does."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.laptop.ports import free_ports, reach
from tests.waiting import eventually_sync

_TRIES = 20_000


def outgoing_ports() -> range:
    """Return the ports that the kernel gives to connections that go out."""
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return range(int(first), int(last) + 1)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_free_ports_differ_and_no_connection_that_goes_out_gets_one() -> None:
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert not set(ports) & set(outgoing_ports())
    with socket.create_server(("127.0.0.1", ports[0])):
        assert ports[0] not in free_ports(500)


def test_a_connection_that_meets_itself_is_no_answer() -> None:
    # Linux gives connections that go out the even ones first.
    port = next(port for port in outgoing_ports() if port % 2 == 0 and is_free(port))
    # Of all tries one or two leave from the very port that they go to; which, nobody can say.
    for _ in range(_TRIES):
        with pytest.raises(ConnectionRefusedError):
            reach(port, timeout_s=1)
    # One that was closed as usual would keep the port for a minute.
    eventually_sync(lambda: is_free(port), within_s=20)


def test_whoever_listens_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        ours = reach(service.getsockname()[1], timeout_s=1)
        theirs, _ = service.accept()
        with ours, theirs:
            theirs.sendall(b"here")
            assert ours.recv(4) == b"here"
