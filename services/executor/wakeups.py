"""Waking whoever waits for a run inside this process; only a shortcut for their polling."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from kit import db

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncSession

RECONCILER = "reconciler"
"""The topic of the reconciler; the others are run ids and `log:<run id>`."""

_listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)


def after_commit(session: AsyncSession, topic: str) -> None:
    """Wake the listeners of a topic once the session's transaction is committed."""
    db.after_commit(session, partial(wake, topic))


def wake(topic: str) -> None:
    """Wake the listeners of a topic now."""
    for listener in _listeners.get(topic, ()):
        listener.set()


@contextmanager
def listening(topic: str) -> Iterator[asyncio.Event]:
    """Give an event that is set whenever the topic is woken; the listener clears it."""
    listener = asyncio.Event()
    _listeners[topic].add(listener)
    try:
        yield listener
    finally:
        _listeners[topic].discard(listener)
        if not _listeners[topic]:
            del _listeners[topic]


async def wait(listener: asyncio.Event, timeout_s: float) -> None:
    """Wait until the listener is woken, or until it is time to look without being told."""
    try:
        await asyncio.wait_for(listener.wait(), timeout_s)
    except TimeoutError:
        return
    finally:
        listener.clear()
