"""Start, stop and look at an install from outside: everything here talks through its files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from deploy.laptop import leftovers, lock, process, programs, record
from deploy.laptop.child import State, tail
from deploy.laptop.install import Install, InstallError, home_directory, load, open_install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.laptop.record import Record

ADMINISTRATOR = "admin"

_UP_LIMIT_S = 180.0
_DOWN_LIMIT_S = 120.0
_POLL_S = 0.1


class StartError(RuntimeError):
    """The install did not come up; the message carries the words of what failed."""


def up() -> int:
    """Start the install in the background, wait until it is ready, say where it is."""
    home = home_directory(os.environ)
    try:
        install, started = bring_up(home, say=print)
    except (StartError, InstallError) as error:
        print(error, file=sys.stderr)
        return 1
    if not started:
        print(lock.describe(home))
    print(f"Elodrome is ready at {install.url}")
    introduce(install, print)
    return 0


def down() -> int:
    """Stop the install and what a killed supervisor may have left."""
    home = home_directory(os.environ)
    found = bring_down(home)
    print("stopped" if found else f"nothing runs in {home}")
    return 0


def introduce(install: Install, say: Callable[[str], object]) -> None:
    """Tell the administrator's login, the first time only."""
    if not install.admin_shown:
        say(f"administrator: {ADMINISTRATOR}  password: {install.admin_password}")
        say(f"(shown once; kept in {install.home / 'install.json'}, readable by you only)")
        install.admin_shown = True
        install.save()


def bring_up(home: Path, *, say: Callable[[str], object]) -> tuple[Install, bool]:
    """Start the install unless it runs, wait until it is ready; True when it was started here.

    Raises StartError with the words of whatever stopped it.
    """
    install = open_install(home, os.environ) if lock.holder(home) is None else load(home)
    if install is None:
        message = f"{home} is being prepared by another process; try again in a moment"
        raise StartError(message)
    supervisor = None if lock.holder(home) else _detach(install)
    await_ready(home, supervisor, say)
    return load(home) or install, supervisor is not None


def bring_down(home: Path) -> bool:
    """Stop the install and wait for its end; False when nothing ran."""
    holder = lock.holder(home)
    if holder is None:
        return bool(leftovers.end(home))
    process.end([holder], grace_s=_DOWN_LIMIT_S)
    leftovers.end(home)
    return True


def await_ready(
    home: Path, supervisor: subprocess.Popen[bytes] | None, say: Callable[[str], object]
) -> None:
    """Return once the supervisor's record says ready, telling its steps on the way."""
    give_up = time.monotonic() + _UP_LIMIT_S
    told = ""
    while time.monotonic() < give_up:
        now = current(home)
        if now is not None and now.step != told:
            told = now.step
            say(told)
        if now is not None and now.ready:
            return
        if supervisor is not None and supervisor.poll() is not None:
            raise StartError(tail(home / "logs" / "supervisor.log"))
        time.sleep(_POLL_S)
    raise StartError(_why_late(home))


def current(home: Path) -> Record | None:
    """Return the record of the supervisor that holds the install now, None when nobody does."""
    last = record.read(home)
    return last if last is not None and last.supervisor == lock.holder(home) else None


def _detach(install: Install) -> subprocess.Popen[bytes]:
    log = install.logs / "supervisor.log"
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.laptop", "run"],
            cwd=programs.REPOSITORY,
            env=os.environ | {"ELODROME_HOME": str(install.home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _why_late(home: Path) -> str:
    last = record.read(home)
    late = [e for e in last.entries if e.state != State.READY] if last else []
    parts = [f"not ready within {_UP_LIMIT_S:.0f} s"]
    for entry in late:
        log = home / "logs" / f"{entry.name}.log"
        parts.append(f"{entry.name}: {entry.state} {entry.last_error}\n{tail(log)}")
    return "\n".join(parts)
