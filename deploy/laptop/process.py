"""A process is its pid plus the moment it started, so a reused pid is never mistaken for it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CLOCK_TOLERANCE_S = 1.0
_KILL_WAIT_S = 5.0
_POLL_S = 0.02


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
    for identity in _wait(asked, grace_s):
        identity.send(signal.SIGKILL)
    _wait(asked, _KILL_WAIT_S)


def _wait(identities: list[Identity], timeout_s: float) -> list[Identity]:
    """Return those that still run after `timeout_s`.

    A zombie has ended: where nobody reaps orphans, its pid stays for ever.
    """
    give_up = time.monotonic() + timeout_s
    left = [identity for identity in identities if identity.process() is not None]
    while left and time.monotonic() < give_up:
        time.sleep(_POLL_S)
        left = [identity for identity in left if identity.process() is not None]
    return left


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
