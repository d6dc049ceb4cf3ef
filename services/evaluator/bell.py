"""Wakes the watchers of an evaluation in this process, so they ask the database less often."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Bell:
    """One bell per id; whoever waits hears the next ring or gives up after a while."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def ring(self, about: str) -> None:
        """Wake everybody who waits for `about` now."""
        for event in self._waiting.get(about, ()):
            event.set()

    async def wait(self, about: str, limit_s: float) -> None:
        """Return at the next ring, or after `limit_s`, since another process may have made it."""
        event = asyncio.Event()
        self._waiting[about].add(event)
        try:
            async with asyncio.timeout(limit_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._waiting[about].discard(event)
            if not self._waiting[about]:
                del self._waiting[about]
