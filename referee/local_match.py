"""Plays one match on this machine, by the same code that plays those that count.

python -m referee.local_match connect_four agent.py random --seed 7 --replay replay.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from games import board
from referee import archives
from referee.matches import BUILTINS, SEED_LIMIT, Limits, LocalSandboxes, Result, Seat, play

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = "{:<5} {:<20} {:<6} {:<8} {}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and tell; returns 0, or 1 where the match could not be played."""
    parser = argparse.ArgumentParser(
        prog="python -m referee.local_match", description="Play one match on this machine."
    )
    parser.add_argument("game", choices=board.NAMES, metavar="GAME", help=", ".join(board.NAMES))
    who = f"a zip with agent.py at its top, a single .py file, or {' or '.join(BUILTINS)}"
    parser.add_argument("first", type=_seat, metavar="AGENT", help=f"seat 0: {who}")
    parser.add_argument("second", type=_seat, metavar="OPPONENT", help="seat 1: the same")
    parser.add_argument("--seed", type=_seed, default=0, help="what all seats draw from; 0")
    parser.add_argument("--replay", type=_replay, metavar="FILE", help="write the match as JSON")
    given = parser.parse_args(arguments)
    seats = [given.first, given.second]
    result = play(
        given.game,
        seats,
        seed=given.seed,
        limits=Limits(),
        sandboxes=LocalSandboxes(),
        on_step=lambda _steps: True,
    )
    if given.replay is not None:
        given.replay.write_text(json.dumps(result.replay), encoding="utf-8")
    if result.void:
        sys.stderr.write(f"the match was not played: {result.void}\n")
        return 1
    sys.stdout.write(_told(given.game, given.seed, seats, result))
    return 0


def _seat(given: str) -> Seat:
    if given in BUILTINS:
        return Seat(name=given, builtin=given)
    path = Path(given)
    if path.suffix not in {".py", ".zip"}:
        raise argparse.ArgumentTypeError(
            f"{given!r} is neither a .zip nor a .py file, nor one of {', '.join(BUILTINS)}"
        )
    try:
        archive = path.read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{given!r}: {error.strerror}") from error
    if path.suffix == ".py":
        archive = _zipped(archive)
    try:
        archives.check(archive)
    except archives.ArchiveError as error:
        raise argparse.ArgumentTypeError(f"{given!r}: {error.code}: {error}") from error
    return Seat(name=path.name, archive=archive)


def _zipped(source: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(archives.ENTRY_POINT), source, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _seed(given: str) -> int:
    try:
        seed = int(given)
    except ValueError:
        seed = -1
    if not 0 <= seed < SEED_LIMIT:
        raise argparse.ArgumentTypeError(f"{given!r} is no integer in [0, {SEED_LIMIT})")
    return seed


def _replay(given: str) -> Path:
    path = Path(given)
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{given!r} cannot be written")
    return path


def _told(game: str, seed: int, seats: Sequence[Seat], result: Result) -> str:
    ending = "a draw" if result.winner is None else f"seat {result.winner} won"
    lines = [f"{game}, seed {seed}: {ending} after {result.steps} steps\n\n"]
    lines.append(_COLUMNS.format("seat", "agent", "score", "time_s", "fault"))
    for number, (seat, done) in enumerate(zip(seats, result.seats, strict=True)):
        fault = ": ".join(part for part in (done.fault.value, done.message) if part)
        words = "" if fault == "NONE" else fault.removeprefix("NONE: ")
        score, used = f"{done.score:g}", f"{done.time_used_s:.3f}"
        lines.append(_COLUMNS.format(number, seat.name[:20], score, used, words).rstrip() + "\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
