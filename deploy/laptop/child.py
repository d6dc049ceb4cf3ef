"""A child is one program kept alive: started, watched, restarted more slowly as it fails more."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from deploy.laptop.process import Identity

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.laptop.programs import Program

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 15.0
CALM_S = 30.0  # a process that ran this long starts over with the first delay

_LOG_LIMIT_BYTES = 16 << 20
_LOGS_KEPT = 3
_TAIL_BYTES = 4096


class State(StrEnum):
    """What a child does now."""

    WAITING = "WAITING"
    STARTING = "STARTING"
    READY = "READY"
    BACKOFF = "BACKOFF"
    STOPPED = "STOPPED"


@dataclass
class Child:
    """One supervised program. Times are monotonic seconds; `due` is when BACKOFF ends."""

    program: Program
    log: Path
    state: State = State.WAITING
    process: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    restarts: int = 0
    failures: int = 0
    last_error: str = ""
    started: float = 0.0
    due: float = 0.0

    def start(self, overrides: dict[str, str]) -> None:
        """Start the program in its own session, so that a terminal's Ctrl-C reaches only us."""
        self.program.prepare()
        with self.log.open("ab") as output:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                self.program.command,
                cwd=self.program.directory,
                env=self.program.environment | overrides,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self.program.user(),
            )
        self.process = process
        self.identity = Identity.of(process.pid)
        self.started = time.monotonic()
        self.state = State.STARTING

    def probe(self) -> bool:
        """Return True at the moment a starting program became ready."""
        if self.state is not State.STARTING or not self.program.ready():
            return False
        self.state = State.READY
        return True

    def reap(self) -> bool:
        """Return True when the program just ended; its restart is then due after a delay."""
        if self.process is None or self.process.poll() is None:
            return False
        lasted_s = time.monotonic() - self.started
        if lasted_s > CALM_S:
            self.failures = 0
        self.postpone(f"{_ending(self.process.returncode)} after {lasted_s:.1f} s")
        return True

    def postpone(self, error: str) -> None:
        """Note a failure and when the program is started again."""
        self.last_error = error
        self.failures += 1
        self.restarts += 1
        self.due = time.monotonic() + delay_s(self.failures)
        self.state = State.BACKOFF
        self.process = self.identity = None

    def kill(self) -> None:
        """End the program at once; it will be started again."""
        if self.process is not None:
            self.process.kill()

    def ask_to_stop(self) -> None:
        """Send the program its stop signal."""
        self.state = State.STOPPED
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.program.stop_signal)

    def await_stop(self) -> None:
        """Wait for the program to end within its grace time, then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(self.program.grace_s)
        except subprocess.TimeoutExpired:
            self.last_error = (
                f"killed: still ran {self.program.grace_s:.0f} s after its stop signal"
            )
            self.process.kill()
            self.process.wait()
        self.process = self.identity = None


def delay_s(failures: int) -> float:
    """Return how long to wait before the restart that follows this many failures in a row."""
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (failures - 1)))


def rotate(log: Path, *, limit_bytes: int = _LOG_LIMIT_BYTES) -> bool:
    """Move a log that grew past its limit aside, keeping the last few; True when it did.

    The writer keeps its file open for appending, so the file is copied and then emptied: lines
    written between the two are lost, which restarting the writer would cost as well.
    """
    if not log.exists() or log.stat().st_size <= limit_bytes:
        return False
    for number in range(_LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, "" when there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    return f"ended by {signal.Signals(-code).name}"
