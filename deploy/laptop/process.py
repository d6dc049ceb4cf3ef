"""A process is its pid plus the moment it started, so a reused pid is never mistaken for it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CLOCK_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Identity:
    """One process of this machine; survives being written to JSON.

    `created` is the start time in seconds since the epoch, as psutil reports it.
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of a running pid, or None when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """Return the live process, or None when it ended or its pid was given to another."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < _CLOCK_TOLERANCE_S
            ended = found.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if same and not ended else None

    def send(self, signal_number: int) -> bool:
        """Send a signal; False when the process is gone."""
        if self.process() is None:
            return False
        try:
            os.kill(self.pid, signal_number)
        except ProcessLookupError:
            return False
        return True


def end(
    identities: Iterable[Identity], *, first: int = signal.SIGTERM, grace_s: float = 10.0
) -> None:
    """Ask every process to end, wait `grace_s` for all of them, then kill what is left."""
    asked = [identity for identity in identities if identity.send(first)]
    alive = [process for process in (i.process() for i in asked) if process is not None]
    _, stubborn = psutil.wait_procs(alive, timeout=grace_s)
    for process in stubborn:
        Identity(process.pid, process.create_time()).send(signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def working_in(directory: Path) -> list[Identity]:
    """Return the processes whose current directory is exactly `directory`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(directory):
                found.append(Identity(process.pid, process.create_time()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def resident_bytes(pid: int) -> int:
    """Return the resident set size of a process, 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
