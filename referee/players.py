"""Who sits at a match: a built-in that needs no code, or an agent in its sandbox."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from elodrome.evaluator.v1 import seat_pb2 as pb

from referee.archives import ArchiveError, check
from referee.sandbox import frames

if TYPE_CHECKING:
    import socket

    from games.board import Observation
    from referee.sandbox.sandboxes import Limits, Sandbox

BUILTINS = ("random", "first")
_CHUNK_BYTES = 60_000
_LONGEST_MESSAGE = 1000


class Fault(StrEnum):
    """Why a seat lost without losing the game."""

    NONE = "NONE"
    INIT_TIMEOUT = "INIT_TIMEOUT"
    STEP_TIMEOUT = "STEP_TIMEOUT"
    MATCH_TIMEOUT = "MATCH_TIMEOUT"
    CRASHED = "CRASHED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    ILLEGAL_ACTION = "ILLEGAL_ACTION"
    PROTOCOL = "PROTOCOL"
    INVALID_CODE = "INVALID_CODE"


class FaultError(Exception):
    """A seat loses by a fault; the text says more."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class Place:
    """Where a player sits: in which game, at which seat of how many, with which seed."""

    game: str
    seat: int
    seat_count: int
    seed: int


@dataclass(frozen=True)
class Turn:
    """What the seat to move is asked: decision number `step`, from 0, of the match."""

    step: int
    observation: Observation
    legal_actions: list[int]


class Player(Protocol):
    """A seat; what it does wrong it raises as FaultError."""

    @property
    def time_used_s(self) -> float:
        """How long its clock ran: while it was to move."""
        ...

    def begin(self, place: Place) -> None:
        """Get ready for the match."""
        ...

    def act(self, turn: Turn) -> int | None:
        """Return what it plays, legal or not; None gives the match up."""
        ...


class BuiltinPlayer:
    """`random` draws from the legal actions evenly, `first` plays the lowest."""

    def __init__(self, name: str) -> None:
        """Take one of BUILTINS; it decides at once."""
        self._name = name
        self.time_used_s = 0.0

    def begin(self, place: Place) -> None:
        """Seed the draws."""
        self._random = random.Random(place.seed)  # noqa: S311 - nothing secret

    def act(self, turn: Turn) -> int:
        """Choose without looking."""
        if self._name == "first":
            return turn.legal_actions[0]
        return turn.legal_actions[int(self._random.random() * len(turn.legal_actions))]


class SubmittedPlayer:
    """An agent whose code runs in a sandbox."""

    def __init__(self, archive: bytes, sandbox: Sandbox, limits: Limits) -> None:
        """Take a sandbox that has no code yet."""
        self._archive = archive
        self._sandbox = sandbox
        self._limits = limits
        self.time_used_s = 0.0

    def begin(self, place: Place) -> None:
        """Hand the code over and wait until the agent is ready."""
        try:
            check(self._archive)
        except ArchiveError as error:
            raise FaultError(Fault.INVALID_CODE, f"{error.code}: {error}") from error
        start = pb.Start(
            game=place.game, seat=place.seat, seat_count=place.seat_count, seed=place.seed
        )
        chunks = range(0, len(self._archive), _CHUNK_BYTES)
        code = (pb.Code(chunk=self._archive[at : at + _CHUNK_BYTES]) for at in chunks)
        requests = [*(pb.SeatRequest(code=piece) for piece in code), pb.SeatRequest(start=start)]
        within_s = self._limits.init_s
        late = FaultError(Fault.INIT_TIMEOUT, f"it was not ready within {within_s:g} s")
        answer = self._ask(requests, within_s, late)
        if answer.WhichOneof("message") != "ready":
            raise FaultError(Fault.PROTOCOL, "it answered a start with what is no readiness")

    def act(self, turn: Turn) -> int | None:
        """Ask for one decision, within what is left on the clock."""
        left_s = self._limits.match_s - self.time_used_s
        allowed_s = min(self._limits.step_s, left_s)
        if left_s < self._limits.step_s:
            late = FaultError(
                Fault.MATCH_TIMEOUT, f"it took more than {self._limits.match_s:g} s in all"
            )
        else:
            late = FaultError(
                Fault.STEP_TIMEOUT, f"it did not decide within {self._limits.step_s:g} s"
            )
        observe = pb.Observe(
            step=turn.step,
            observation=pb.Observation(
                shape=turn.observation.shape, values=turn.observation.values
            ),
            legal_actions=turn.legal_actions,
            time_left_ms=int(allowed_s * 1000),
        )
        started = time.monotonic()
        try:
            answer = self._ask([pb.SeatRequest(observe=observe)], allowed_s, late)
        finally:
            self.time_used_s += time.monotonic() - started
        move = answer.move
        if answer.WhichOneof("message") != "move" or move.step != turn.step:
            raise FaultError(Fault.PROTOCOL, "it answered another question than it was asked")
        if move.WhichOneof("decision") is None:
            raise FaultError(Fault.PROTOCOL, "it answered with a move that decides nothing")
        return None if move.WhichOneof("decision") == "resign" else move.action

    def _ask(
        self, requests: list[pb.SeatRequest], within_s: float, late: FaultError
    ) -> pb.SeatResponse:
        """Send and wait for the one frame that is due; raises FaultError."""
        connection = self._sandbox.connection
        deadline = time.monotonic() + within_s
        try:
            _refuse_more(connection)
            for request in requests:
                frames.send(connection, request, deadline)
            answer = frames.receive(connection, pb.SeatResponse, deadline)
            _refuse_more(connection)
        except TimeoutError:
            raise late from None
        except frames.FrameError as error:
            raise FaultError(Fault.PROTOCOL, f"it sent {error}") from error
        except frames.ClosedError as error:
            death = self._sandbox.death()
            fault = Fault.OUT_OF_MEMORY if death.is_memory else Fault.CRASHED
            raise FaultError(fault, death.message) from error
        if answer.WhichOneof("message") == "failure":
            raise _failed(answer.failure)
        return answer


def _refuse_more(connection: socket.socket) -> None:
    if frames.has_more(connection):
        raise FaultError(Fault.PROTOCOL, "it sent more than it was asked for")


def _failed(failure: pb.Failure) -> FaultError:
    fault = {
        pb.Failure.KIND_EXCEPTION: Fault.CRASHED,
        pb.Failure.KIND_OUT_OF_MEMORY: Fault.OUT_OF_MEMORY,
        pb.Failure.KIND_NO_ACTION: Fault.ILLEGAL_ACTION,
    }.get(failure.kind, Fault.PROTOCOL)
    words = "".join(letter if letter.isprintable() else " " for letter in failure.message).strip()
    return FaultError(fault, words[:_LONGEST_MESSAGE] or "it did not say why")


def seat_seed(match_seed: int, seat: int) -> int:
    """Return the seed of a seat, in [0, 2**31), that follows from the seed of the match."""
    digest = hashlib.sha256(f"{match_seed}/{seat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
