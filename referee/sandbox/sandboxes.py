"""What a match needs of a place where the code of its seats runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from elodrome.evaluator.v1.seat_pb2 import Confine, SeatRequest, SeatResponse

from referee.sandbox import frames

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Limits:
    """What each seat may take; times in seconds.

    `init_s` is from the start of the match until the seat is ready, `step_s` for one decision and
    `match_s` for all decisions of the seat: its clock runs while it is to move, and only then. Two
    seats play for 300 s at most by that.
    `memory_bytes` is what all processes of the seat have together.
    """

    init_s: float = 30
    step_s: float = 5
    match_s: float = 150
    cpus: int = 1
    memory_bytes: int = 512 << 20
    processes: int = 50


class SandboxError(Exception):
    """A sandbox could not be had: a sentence about the platform, not about the agent."""


@dataclass(frozen=True)
class Death:
    """Why a sandbox is gone in the middle of a match."""

    message: str
    is_memory: bool = False


class Sandbox(Protocol):
    """A runner that has confined itself, and has no code yet."""

    @property
    def connection(self) -> socket.socket:
        """The stream of frames to it."""
        ...

    def death(self) -> Death:
        """Say why the other end of the connection is gone."""
        ...


class Sandboxes(Protocol):
    """A place with a sandbox for each seat."""

    def open(self, seat: int, limits: Limits) -> AbstractContextManager[Sandbox]:
        """Start or reach the sandbox of a seat; raises SandboxError.

        On leaving, nothing that ran in it is left.
        """
        ...


def confine(connection: socket.socket, seat: int, limits: Limits, deadline: float) -> None:
    """Let a runner confine itself, until `deadline` by time.monotonic.

    Raises TimeoutError, ClosedError, and FrameError where it is none.
    """
    request = Confine(
        seat=seat,
        cpu_count=limits.cpus,
        memory_bytes=limits.memory_bytes,
        process_count=limits.processes,
        # For processes that outlive what ends them all; a match takes far less.
        cpu_time_s=math.ceil(4 * limits.cpus * (limits.init_s + limits.match_s)),
    )
    frames.send(connection, SeatRequest(confine=request), deadline)
    answer = frames.receive(connection, SeatResponse, deadline)
    if answer.WhichOneof("message") != "ready":
        raise frames.FrameError("it is no sandbox")
