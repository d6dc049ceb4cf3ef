"""A cache that is never more than a second behind Postgres.

What was asked for in the last half minute is read again twice a second, all of it in one query,
so that a busy caller's requests find a fresh answer in memory and an idle gateway asks nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")

MAX_AGE_S = 0.9
"""Oldest answer that is given, counted from before its query began."""
_REFRESH_S = 0.4
_REMEMBER_S = 30.0
_MAX_KEYS = 20_000


@dataclass
class _Entry(Generic[Value]):
    value: Value | None
    read_at: float
    used_at: float


class Fresh(Generic[Value]):
    """Answers by key, read through `fetch`, which maps keys to the answers that exist."""

    def __init__(self, fetch: Callable[[list[str]], Awaitable[dict[str, Value]]]) -> None:
        self._fetch = fetch
        self._entries: dict[str, _Entry[Value]] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._changed_at = 0.0

    async def get(self, key: str) -> Value | None:
        """Return the answer of a key, None when there is none; raises what `fetch` raises."""
        now = time.monotonic()
        # Fixed here: changes that come while this waits are for those who ask later.
        fresh_from = max(now - MAX_AGE_S, self._changed_at)
        entry = self._entries.get(key)
        while entry is None or entry.read_at < fresh_from:
            await self._read_together(key)
            entry = self._entries.get(key)
        entry.used_at = now
        return entry.value

    def forget(self) -> None:
        """Let no answer whose query began before now be given again."""
        self._changed_at = time.monotonic()

    async def keep(self) -> None:
        """Read again what is in use, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            oldest = time.monotonic() - _REMEMBER_S
            self._entries = {k: e for k, e in self._entries.items() if e.used_at > oldest}
            if self._entries:
                await self._read(list(self._entries))

    async def _read_together(self, key: str) -> None:
        """Read a key once for all who ask for it at the same time."""
        task = self._reading.get(key)
        # One that is done has told all who waited for it; who comes after needs a new answer.
        if task is None or task.done():
            task = asyncio.create_task(self._read([key]))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._let_go(key, done))
        # A caller who gives up must not take the answer away from the others.
        await asyncio.shield(task)

    def _let_go(self, key: str, done: asyncio.Task[None]) -> None:
        if self._reading.get(key) is done:
            del self._reading[key]

    async def _read(self, keys: list[str]) -> None:
        began = time.monotonic()
        found = await self._fetch(keys)
        if len(self._entries) > _MAX_KEYS:
            self._entries.clear()
        for key in keys:
            known = self._entries.get(key)
            if known is None or known.read_at < began:
                used_at = known.used_at if known else began
                self._entries[key] = _Entry(found.get(key), began, used_at)
