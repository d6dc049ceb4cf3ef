"""Sandboxes that somebody else started: pods with `referee.sandbox.runner --listen`."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from referee.sandbox import frames
from referee.sandbox.sandboxes import Death, SandboxError, confine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from referee.sandbox.sandboxes import Limits

_RETRY_S = 0.2
# A pod that is not there yet may answer nothing at all.
_ATTEMPT_S = 5.0


@dataclass(frozen=True)
class RemoteSandbox:
    """A sandbox at the other end of a network."""

    connection: socket.socket

    def death(self) -> Death:
        """Say what can be seen from here."""
        return Death("its process ended")


class RemoteSandboxes:
    """The sandboxes at `addresses`, host:port, in the order of the seats."""

    def __init__(self, addresses: Sequence[str], start_s: float = 120.0) -> None:
        """Wait at most `start_s` for each sandbox to be there; raises ValueError."""
        self._addresses = [_parse(address) for address in addresses]
        self._start_s = start_s

    @contextlib.contextmanager
    def open(self, seat: int, limits: Limits) -> Iterator[RemoteSandbox]:
        """Connect to the sandbox of a seat; raises SandboxError. It ends with the connection."""
        host, port = self._addresses[seat]
        deadline = time.monotonic() + self._start_s
        connection = None
        while connection is None:
            try:
                connection = _connect((host, port), seat, limits)
            except (OSError, frames.ClosedError, frames.FrameError) as error:
                if time.monotonic() + _RETRY_S >= deadline:
                    raise SandboxError(
                        f"the sandbox of seat {seat} at {host}:{port} was not there within "
                        f"{self._start_s:g} s: {str(error) or 'it did not answer'}"
                    ) from error
                time.sleep(_RETRY_S)
        with connection:
            yield RemoteSandbox(connection)


def _connect(address: tuple[str, int], seat: int, limits: Limits) -> socket.socket:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(address, timeout=_ATTEMPT_S))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        confine(connection, seat, limits, time.monotonic() + _ATTEMPT_S)
        stack.pop_all()
    return connection


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"sandbox address: {address!r} is not host:port")
    return host.strip("[]"), int(port)
