"""What a killed supervisor left running is found by its record and ended before a new start."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil

from deploy.laptop import process, record
from deploy.laptop.process import Identity

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = ("workers",)

_FAST_SHUTDOWN = {"postgres": signal.SIGINT}
_WORKER_GRACE_S = 20.0


def end(home: Path) -> list[str]:
    """End every process that the last supervisor of an install started; returns their names.

    Services go first, so that they still find the database and the bus while they stop.
    """
    last = record.read(home)
    if last is None:
        return []
    alive = [entry for entry in last.entries if entry.identity and entry.identity.process()]
    services = [e.identity for e in alive if e.identity and e.name not in ("postgres", "nats")]
    process.end(services)
    end_workers(home)
    for entry in alive:
        if entry.identity and entry.name in ("nats", "postgres"):
            process.end([entry.identity], first=_FAST_SHUTDOWN.get(entry.name, signal.SIGTERM))
    return [entry.name for entry in alive]


def end_workers(home: Path) -> None:
    """Ask the workers of an install to save and stop, then kill what is left of them."""
    process.end(workers(home), grace_s=_WORKER_GRACE_S)


def workers(home: Path) -> list[Identity]:
    """Return the trainers and referees that work in a directory of this install."""
    found = []
    for candidate in psutil.process_iter():
        try:
            directory = candidate.environ().get("ELODROME_WORK_DIR", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if directory.startswith(f"{home}/"):
            found.append(Identity(candidate.pid, candidate.create_time()))
    return found
