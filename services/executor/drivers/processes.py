"""What /proc knows of the processes of a session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process that is not a zombie. `start_ticks` tells it from a later one of the same pid."""

    pid: int
    parent_pid: int
    session_id: int
    start_ticks: int
    resident_bytes: int


def scan() -> list[Process]:
    """Return every process that can be seen."""
    pids = (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())
    return [process for pid in pids if (process := read(pid)) is not None]


def read(pid: int) -> Process | None:
    """Return one process; None where it is gone or only its exit status is left."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold blanks and brackets; everything after its last bracket is numbers.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Process(
        pid=pid,
        parent_pid=int(fields[1]),
        session_id=int(fields[3]),
        start_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def marked(variable: str) -> Iterator[int]:
    """Return the processes that were given `NAME=value` in their environment."""
    wanted = variable.encode()
    for process in scan():
        try:
            environment = (_PROC / str(process.pid) / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if wanted in environment.split(b"\0"):
            yield process.pid


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already needs none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
