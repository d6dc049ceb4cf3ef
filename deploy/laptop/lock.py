"""One supervisor per install: a kernel lock that vanishes with its holder, and who that is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from deploy.laptop.process import Identity

if TYPE_CHECKING:
    from pathlib import Path


class HeldError(RuntimeError):
    """Another supervisor holds the install; the message says which."""


def acquire(home: Path) -> TextIO:
    """Take the lock of an install; it is held as long as the returned file stays open.

    Raises HeldError naming the process that holds it.
    """
    file = (home / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise HeldError(describe(home)) from None
    file.truncate(0)
    identity = Identity.of(os.getpid())
    if identity is not None:
        json.dump(asdict(identity), file)
    file.flush()
    return file


def holder(home: Path) -> Identity | None:
    """Return the supervisor that holds the install now, None when nobody does."""
    path = home / "lock"
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    identity = Identity(**json.loads(text)) if text else None
    return identity if identity is not None and identity.process() is not None else None


def describe(home: Path) -> str:
    """Return a sentence about who holds the install."""
    found = holder(home)
    if found is None:
        return f"the install in {home} is being started or stopped by another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.created))
    return f"the install in {home} is held by supervisor {found.pid}, running since {since}"
