"""The script that engines are started by."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from games.doom.launcher import write_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def is_open_here(path: Path) -> bool:
    descriptors = Path("/proc/self/fd").iterdir()
    return path in [entry.readlink() for entry in descriptors if entry.is_symlink()]


@contextlib.contextmanager
def a_fork_wherever_open(path: Path) -> Iterator[None]:
    """Fork, as another thread might, whenever this process has opened the file.

    The children do nothing, so they hold what they inherited until the block ends.
    """
    children: list[int] = []

    def look(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_return" and function is io.open and is_open_here(path):
            child = os.fork()
            while not child:
                signal.pause()
            children.append(child)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_an_engine_can_be_started_whoever_forks_meanwhile(tmp_path: Path) -> None:
    with a_fork_wherever_open(tmp_path / "engine"):
        script = write_launcher(tmp_path)
        # The script runs, and ends since this is no controller that it knows.
        subprocess.run([script], check=False, env={"PATH": os.defpath}, timeout=10)
