"""Plays one match between seats, from its seed to its replay."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from games.board import SEAT_COUNT, BoardGame
from referee.players import (
    BUILTINS,
    BuiltinPlayer,
    Fault,
    FaultError,
    Place,
    Player,
    SubmittedPlayer,
    Turn,
    seat_seed,
)
from referee.sandbox.bubblewrap import LocalSandboxes
from referee.sandbox.remote import RemoteSandboxes
from referee.sandbox.sandboxes import Limits, SandboxError, Sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "BUILTINS",
    "Fault",
    "Limits",
    "LocalSandboxes",
    "RemoteSandboxes",
    "Result",
    "Sandboxes",
    "Seat",
    "SeatResult",
    "play",
]

REPLAY_FORMAT = "elodrome-replay-1"
SEED_LIMIT = 1 << 31
# No game of here comes near it; a replay stays a file that can be looked at.
MOST_STEPS = 1000
_WIN, _DRAW, _LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Seat:
    """Who plays: a submitted archive, or one of BUILTINS."""

    name: str
    archive: bytes | None = None
    builtin: str = ""


@dataclass(frozen=True)
class SeatResult:
    """How a seat did: 1 for a win, 0.5 for a draw, 0 otherwise; `message` says more of a fault."""

    score: float
    fault: Fault = Fault.NONE
    message: str = ""
    time_used_s: float = 0.0


@dataclass(frozen=True)
class Result:
    """How a match ended.

    Without a winner it was a draw, unless it counts for nobody: `void` is a sentence where the
    platform is to blame, and `cancelled` says that `on_step` wanted no more.
    """

    seats: list[SeatResult]
    winner: int | None
    steps: int
    void: str
    replay: dict[str, Any]
    environment_version: str
    cancelled: bool


def play(
    game: str,
    seats: Sequence[Seat],
    *,
    seed: int,
    limits: Limits,
    sandboxes: Sandboxes,
    on_step: Callable[[int], bool],
) -> Result:
    """Play a match; raises ValueError naming what cannot be played.

    The first seat that does what it may not loses at once, and nobody moves in its place. The same
    seed and agents that always decide the same make the same replay, but for its times.
    `on_step` is told the steps so far after each; where it returns False the match is cancelled.
    """
    _check(seats, seed)
    board = BoardGame(game)
    board.reset(seed)
    match = _Match(board, seats, seed)
    try:
        with contextlib.ExitStack() as stack:
            players: list[Player] = []
            for number, seat in enumerate(seats):
                if seat.archive is None:
                    players.append(BuiltinPlayer(seat.builtin))
                else:
                    sandbox = stack.enter_context(sandboxes.open(number, limits))
                    players.append(SubmittedPlayer(seat.archive, sandbox, limits))
            match.play(players, on_step)
    except SandboxError as error:
        match.void = str(error)
    return match.result()


def _check(seats: Sequence[Seat], seed: int) -> None:
    if len(seats) != SEAT_COUNT:
        raise ValueError(f"seats: a match has {SEAT_COUNT}, not {len(seats)}")
    for number, seat in enumerate(seats):
        if (seat.archive is None) == (not seat.builtin):
            raise ValueError(f"seats[{number}]: give either an archive or a builtin")
        if seat.builtin and seat.builtin not in BUILTINS:
            raise ValueError(f"seats[{number}].builtin: {seat.builtin!r} is none of {BUILTINS}")
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"seed: {seed} is not in [0, {SEED_LIMIT})")


@dataclass
class _Match:
    """A match while it is played, and what became of it."""

    board: BoardGame
    seats: Sequence[Seat]
    seed: int
    void: str = ""
    cancelled: bool = False
    frames: list[dict[str, Any]] = field(default_factory=list)
    players: Sequence[Player] = ()
    scores: tuple[float, ...] = ()
    faults: dict[int, tuple[Fault, str]] = field(default_factory=dict)

    def play(self, players: Sequence[Player], on_step: Callable[[int], bool]) -> None:
        """Play until the game, a seat, or `on_step` ends it."""
        self.players = players
        for seat, player in enumerate(players):
            place = Place(self.board.name, seat, len(players), seat_seed(self.seed, seat))
            try:
                player.begin(place)
            except FaultError as error:
                return self._lose(seat, error.fault, str(error))
        while (seat := self.board.seat) is not None:
            if len(self.frames) == MOST_STEPS:
                self.void = f"the game had not ended after {MOST_STEPS} steps"
                return None
            if not self._step(seat):
                return None
            if not on_step(len(self.frames)):
                self.cancelled = True
                return None
        self.scores = self.board.scores()
        return None

    def _step(self, seat: int) -> bool:
        """Let a seat decide; say whether the match goes on."""
        player = self.players[seat]
        legal = self.board.legal_actions()
        frame: dict[str, Any] = {
            "step": len(self.frames),
            "seat": seat,
            "state": self.board.state(),
            "legal_actions": legal,
            "action": None,
            "time_ms": 0,
        }
        self.frames.append(frame)
        used_s = player.time_used_s
        try:
            action = player.act(Turn(frame["step"], self.board.observation(seat), legal))
        except FaultError as error:
            self._lose(seat, error.fault, str(error))
            return False
        finally:
            frame["time_ms"] = round((player.time_used_s - used_s) * 1000)
        frame["action"] = action
        if action is None:
            self._lose(seat, Fault.NONE, "it resigned")
        elif action not in legal:
            self._lose(seat, Fault.ILLEGAL_ACTION, f"it played {action}; legal were {legal}")
        else:
            self.board.act(action)
            return True
        return False

    def _lose(self, seat: int, fault: Fault, message: str) -> None:
        self.faults[seat] = (fault, message)
        self.scores = tuple(_LOSS if each == seat else _WIN for each in range(len(self.seats)))

    def result(self) -> Result:
        """Return what became of it."""
        if self.void or self.cancelled:
            self.scores = ()
        results = []
        for seat in range(len(self.seats)):
            fault, message = self.faults.get(seat, (Fault.NONE, ""))
            used_s = self.players[seat].time_used_s if self.players else 0.0
            score = self.scores[seat] if self.scores else _LOSS
            results.append(SeatResult(score, fault, message, round(used_s, 3)))
        winner = self.scores.index(_WIN) if _WIN in self.scores else None
        return Result(
            seats=results,
            winner=winner,
            steps=len(self.frames),
            void=self.void,
            replay=self._replay(results, winner),
            environment_version=self.board.environment_version,
            cancelled=self.cancelled,
        )

    def _replay(self, results: Sequence[SeatResult], winner: int | None) -> dict[str, Any]:
        """Return all of the match for JSON: the positions that were decided in, and the last."""
        return {
            "format": REPLAY_FORMAT,
            "game": self.board.name,
            "environment_version": self.board.environment_version,
            "seed": self.seed,
            "seats": [
                {"name": seat.name, "builtin": seat.builtin, "seed": seat_seed(self.seed, number)}
                for number, seat in enumerate(self.seats)
            ],
            "frames": self.frames,
            "result": {
                "winner": winner,
                "void": self.void,
                "cancelled": self.cancelled,
                "steps": len(self.frames),
                "state": self.board.state(),
                "seats": [vars(result) for result in results],
            },
        }
