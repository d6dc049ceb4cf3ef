"""What a killed supervisor left running is found by its record and ended before a new start."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from deploy.laptop import process, record
from deploy.laptop.process import Identity

if TYPE_CHECKING:
    from pathlib import Path

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
    ask_workers(home)
    process.end(_working(home), first=signal.SIGKILL)


def ask_workers(home: Path) -> None:
    """Ask the workers of an install to save and stop; one that does not is killed in the end.

    Only a worker itself is asked: the games it plays have to live until it has saved.
    """
    process.end(workers(home), grace_s=_WORKER_GRACE_S)


def workers(home: Path) -> list[Identity]:
    """Return the trainers and referees of this install, without the games they play.

    The executor starts each in a session of its own, under a shell that leads it.
    """
    return [identity for identity in _working(home) if _is_led_by_its_parent(identity)]


def _is_led_by_its_parent(identity: Identity) -> bool:
    running = identity.process()
    try:
        return running is not None and running.ppid() == os.getsid(identity.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


def _working(home: Path) -> list[Identity]:
    """Return every process that works in a directory of this install."""
    inside = f"{home.resolve()}/"
    found = []
    for candidate in psutil.process_iter():
        try:
            directory = candidate.environ().get("ELODROME_WORK_DIR", "")
            if directory.startswith(inside):
                found.append(Identity(candidate.pid, candidate.create_time()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
