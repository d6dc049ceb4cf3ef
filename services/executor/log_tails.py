"""Carries what workers print into Postgres, live, each line once.

The place in the output up to which lines are stored is committed together with them, so that
neither a crash nor a restart loses or repeats one.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from services.executor import log_text, wakeups
from services.executor.models.job import Job
from services.executor.models.log import LogLine, line_row
from services.executor.models.run import lock_run
from services.executor.models.update import lock_head

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.executor.drivers.driver import Driver
    from services.executor.settings import ExecutorSettings

_POLL_S = 0.25
_READ_BYTES = 4 << 20
_TURNS = 16
"""Reads of one worker's output before those of others."""
_BURST_S = 5


def log_topic(run_id: str) -> str:
    """Return the wake-up topic of a run's log."""
    return f"log:{run_id}"


class LogTails:
    """Follows the output of every job that is at work or not yet reaped."""

    def __init__(self, settings: ExecutorSettings, sessions: Sessions, driver: Driver) -> None:
        self._settings = settings
        self._sessions = sessions
        self._driver = driver
        self._tails: dict[str, _Tail] = {}

    def follow(self, jobs: Iterable[Job]) -> None:
        """Begin to follow jobs that are not followed yet."""
        for job in jobs:
            if job.id not in self._tails:
                self._tails[job.id] = _Tail(job, self._settings, self._sessions, self._driver)

    async def run(self) -> None:
        """Carry lines until cancelled."""
        while True:
            for tail in list(self._tails.values()):
                await tail.pump()
            await asyncio.sleep(_POLL_S)

    async def finish(self, job: Job) -> None:
        """Carry the rest of a job that is gone, and mark it as reaped."""
        tail = self._tails.pop(job.id)
        await tail.pump(is_final=True)
        async with self._sessions.begin() as session:
            await session.execute(update(Job).where(Job.id == job.id).values(is_reaped=True))
            wakeups.after_commit(session, log_topic(job.run_id))


class _Tail:
    """The output of one job, from the first byte that is not stored yet."""

    def __init__(
        self, job: Job, settings: ExecutorSettings, sessions: Sessions, driver: Driver
    ) -> None:
        self._job = job
        self._settings = settings
        self._sessions = sessions
        self._driver = driver
        self._offset_bytes = job.log_offset_bytes
        self._stored_bytes = job.log_stored_bytes
        self._seen_bytes = -1
        self._turn = asyncio.Lock()
        self._allowance = float(settings.log_lines_per_s * _BURST_S)
        self._allowance_time = time.monotonic()
        self._left_out = 0

    async def pump(self, *, is_final: bool = False) -> None:
        """Store the lines that have come, and the last, unfinished one when it is final.

        Until then it is a few megabytes at a time, so that a worker that never stops printing keeps
        nobody from others.
        """
        async with self._turn:
            turns = itertools.count() if is_final else range(_TURNS)
            for _ in turns:
                if not await self._pump_once(is_final=is_final):
                    return

    async def _pump_once(self, *, is_final: bool) -> bool:
        data = await self._driver.read_log(self._job.name, self._offset_bytes, _READ_BYTES)
        if not data or (len(data) == self._seen_bytes and not is_final):
            return False
        is_last = is_final and len(data) < _READ_BYTES
        # A worker may print faster than this loop can look at; others must not wait for it.
        kept, consumed_bytes = await asyncio.to_thread(self._read, data, is_final=is_last)
        if not consumed_bytes:
            self._seen_bytes = len(data)
            return False
        is_ours = await self._store(kept, consumed_bytes)
        self._seen_bytes = len(data) - consumed_bytes if is_ours else -1
        return True

    def _read(self, data: bytes, *, is_final: bool) -> tuple[list[str], int]:
        lines = log_text.split(data, is_final=is_final)
        return self._admit(lines.printed), lines.consumed_bytes

    def _admit(self, printed: list[bytes]) -> list[str]:
        """Return the lines that the limits of rate and size let through, with notes on the rest."""
        self._refill()
        kept: list[str] = []
        for place, line in enumerate(printed):
            if self._allowance < 1 or self._stored_bytes >= self._settings.log_max_bytes:
                self._left_out += len(printed) - place
                break
            text = log_text.clean(line)
            if self._left_out:
                kept.append(f"[{self._left_out} lines left out: printed too fast]")
                self._left_out = 0
            kept.append(text)
            self._stored_bytes += len(text.encode())
            self._allowance -= 1
            if self._stored_bytes >= self._settings.log_max_bytes:
                limit = self._settings.log_max_bytes
                kept.append(f"[the log is full after {limit} bytes; the rest is left out]")
        return kept

    def _refill(self) -> None:
        now = time.monotonic()
        rate = self._settings.log_lines_per_s
        earned = (now - self._allowance_time) * rate
        self._allowance = min(rate * _BURST_S, self._allowance + earned)
        self._allowance_time = now

    async def _store(self, texts: list[str], consumed_bytes: int) -> bool:
        """Store lines, unless another executor that follows the same output was quicker."""
        async with self._sessions.begin() as session:
            # The run first, then its job and its head: the order in which everybody locks.
            _run, now = await lock_run(session, self._job.run_id)
            job = await session.get_one(Job, self._job.id, populate_existing=True)
            is_ours = job.log_offset_bytes == self._offset_bytes
            if is_ours:
                if texts:
                    await self._insert(session, texts, now)
                job.log_offset_bytes += consumed_bytes
                job.log_stored_bytes = self._stored_bytes
            self._offset_bytes, self._stored_bytes = job.log_offset_bytes, job.log_stored_bytes
        return is_ours

    async def _insert(self, session: AsyncSession, texts: list[str], now: datetime) -> None:
        job = self._job
        head = await lock_head(session, job.run_id)
        first = head.line_count + 1
        rows = [
            line_row(job.run_id, number, job.attempt, now, text)
            for number, text in enumerate(texts, start=first)
        ]
        await session.execute(insert(LogLine), rows)
        head.line_count += len(rows)
        wakeups.after_commit(session, log_topic(job.run_id))
