"""The process that actors are forked from: it has loaded once what each of them needs.

It is started afresh, not forked, so it holds none of this process's threads and connections.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

CONTEXT = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Begin to load what actors need; it takes seconds, so call it early. Returns at once."""
    CONTEXT.set_forkserver_preload(["trainer.players"])
    forkserver.ensure_running()
