"""Matches of agents that are a few lines of source, for tests."""

from __future__ import annotations

import io
import shutil
import textwrap
import zipfile
from typing import Any

import pytest

from referee.matches import Limits, LocalSandboxes, Result, Sandboxes, Seat, play

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


def archive(source: str, **files: str) -> bytes:
    """Return a submission: `agent.py` with this source, and other files by name."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in {"agent.py": source, **files}.items():
            zipped.writestr(name, content)
    return written.getvalue()


def a_match(
    *seats: str,
    game: str = "connect_four",
    seed: int = 7,
    sandboxes: Sandboxes | None = None,
    **limits: Any,
) -> Result:
    """Play a match between built-ins, by name, and agents, by source."""
    sitting = [
        Seat(name=f"seat {number}", builtin=seat)
        if seat in {"random", "first"}
        else Seat(name=f"seat {number}", archive=archive(seat))
        for number, seat in enumerate(seats)
    ]
    return play(
        game,
        sitting,
        seed=seed,
        limits=Limits(**limits),
        sandboxes=sandboxes or LocalSandboxes(),
        on_step=lambda _steps: True,
    )


def ended_by(source: str, **limits: Any) -> Result:
    """Play an agent that will lose against `first`."""
    result = a_match(textwrap.dedent(source), "first", **limits)
    assert (result.winner, result.void) == (1, ""), result
    assert [seat.score for seat in result.seats] == [0.0, 1.0]
    return result
