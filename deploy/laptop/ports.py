"""Ports of the loopback interface: free ones, and whether anybody listens at another."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

_HOST = "127.0.0.1"
_FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_RANGE = "32768 60999"
_AT_ONCE = struct.pack("ii", 1, 0)


def free_ports(count: int) -> list[int]:
    """Return distinct TCP ports that were free a moment ago.

    None is one that the kernel gives to connections that go out: one of those could have it before
    whoever is to listen there.
    """
    text = _RANGE.read_text(encoding="ascii") if _RANGE.exists() else _USUAL_RANGE
    candidates = list(range(_FIRST, int(text.split()[0])))
    # Not from a seed: whoever else asks at the same moment should be told others.
    random.SystemRandom().shuffle(candidates)
    free = (port for port in candidates if _is_free(port))
    return [next(free) for _ in range(count)]


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def reach(port: int, timeout_s: float) -> socket.socket:
    """Return a connection to whoever listens at a port; raise OSError where nobody does.

    Where nobody does, the kernel may choose that very port for the connection to leave from, which
    then meets itself. It would pass for an answer, and once closed keep the port from whoever is to
    listen there for a minute.
    """
    connection = socket.create_connection((_HOST, port), timeout=timeout_s)
    if connection.getsockname() == connection.getpeername():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.close()
        raise ConnectionRefusedError(f"nobody listens at port {port}")
    return connection


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True
