"""The process that actors are forked from: it has loaded once what each of them needs.

It is started afresh, not forked, so it holds none of this process's threads and connections.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import tempfile
from multiprocessing import forkserver

CONTEXT = multiprocessing.get_context("forkserver")


@functools.cache
def prepare() -> None:
    """Begin to load what actors need; it takes seconds, so call it early. Returns at once."""
    CONTEXT.set_forkserver_preload(["trainer.players"])
    # A socket's path has at most 107 characters, and a worker's directory may have as many: so it
    # is named by a descriptor, which stays open as long as this process may want actors. Processes
    # that it starts have their own in the same place, so it is not named as one of /proc/self.
    directory = os.open(tempfile.gettempdir(), os.O_PATH | os.O_DIRECTORY)
    usual, tempfile.tempdir = tempfile.tempdir, f"/proc/{os.getpid()}/fd/{directory}"
    try:
        forkserver.ensure_running()
    finally:
        tempfile.tempdir = usual
