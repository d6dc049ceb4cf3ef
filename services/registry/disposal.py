"""What nothing refers to any more goes; what is damaged is marked.

A file may be removed only under its digest's lock and without a row that names it, and a row is
written only under the same lock and with its file in place. So an upload and a removal of equal
content can meet at any point, and the row never outlives its file.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter
from sqlalchemy import delete, func, select, update

from kit import errors
from kit.db import server_now
from kit.gauges import Pace
from services.registry import gauges
from services.registry.models.checkpoint import Artifact, Checkpoint, age_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.registry.artifacts import ArtifactStore
    from services.registry.settings import RegistrySettings

_SCRUB_BATCH = 100

log = structlog.get_logger("registry.disposal")
damaged_files = Counter("elodrome_artifacts_damaged", "Stored files found damaged or missing")


async def lock_digest(session: AsyncSession, sha256: str) -> None:
    """Keep others from storing or removing this content until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(sha256, 0))))


async def release(session: AsyncSession, digests: Iterable[str]) -> dict[str, int]:
    """Remove the rows of files that no checkpoint refers to; return their sizes by digest.

    The files themselves go after the commit, by `Disposal.remove_files`.
    """
    freed = {}
    for sha256 in sorted(set(digests)):
        await lock_digest(session, sha256)
        users = select(Checkpoint.id).where(Checkpoint.sha256 == sha256)
        size_bytes = await session.scalar(
            delete(Artifact)
            .where(Artifact.sha256 == sha256, ~users.exists())
            .returning(Artifact.size_bytes)
        )
        if size_bytes is not None:
            freed[sha256] = size_bytes
    return freed


class Disposal:
    """Removes orphans and reads stored files again, on request and in the background."""

    def __init__(
        self, settings: RegistrySettings, sessions: Sessions, store: ArtifactStore
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._scrubbing = asyncio.Lock()
        self._sweeps = Pace(gauges.SWEEP, settings.sweep_interval_s)
        self._scrubs = Pace(gauges.SCRUB, settings.scrub_interval_s)

    async def remove_files(self, digests: Iterable[str]) -> None:
        """Remove the files that no row names."""
        for sha256 in digests:
            async with self._sessions.begin() as session:
                await lock_digest(session, sha256)
                if await session.get(Artifact, sha256) is None:
                    await self._store.delete(sha256)

    async def mark_damaged(self, sha256: str, why: str, *, since: datetime) -> None:
        """Remember that a file is damaged, unless it was stored anew after `since`."""
        async with self._sessions.begin() as session:
            await session.execute(
                update(Artifact)
                .where(Artifact.sha256 == sha256, Artifact.verify_time <= since)
                .values(corrupt_reason=why)
            )
        damaged_files.inc()
        log.error("artifact_damaged", sha256=sha256, why=why)

    async def verify(self, sha256: str, size_bytes: int) -> str:
        """Read a file in full and remember the result; return what is wrong, or nothing."""
        async with self._sessions() as session:
            since = (await session.scalars(select(server_now()))).one()
        why = await self._store.damage(sha256, size_bytes)
        if why:
            await self.mark_damaged(sha256, why, since=since)
        else:
            async with self._sessions.begin() as session:
                await session.execute(
                    update(Artifact)
                    .where(Artifact.sha256 == sha256)
                    .values(verify_time=server_now(), corrupt_reason="")
                )
        return why

    async def scrub(self, age_s: float) -> tuple[int, int, list[str]]:
        """Verify every file not verified for `age_s` seconds.

        Returns how many files and bytes were read, and the digests of the damaged ones. Raises
        SCRUB_RUNNING while another scrub of this process is under way.
        """
        if self._scrubbing.locked():
            raise errors.aborted("a scrub is under way", reason="SCRUB_RUNNING")
        async with self._scrubbing:
            count, total_bytes, damaged, last = 0, 0, [], ""
            while batch := await self._due(age_s, after=last):
                for sha256, size_bytes in batch:
                    if await self.verify(sha256, size_bytes):
                        damaged.append(sha256)
                    count, total_bytes, last = count + 1, total_bytes + size_bytes, sha256
        return count, total_bytes, damaged

    async def _due(self, age_s: float, *, after: str) -> list[tuple[str, int]]:
        query = (
            select(Artifact.sha256, Artifact.size_bytes)
            .where(Artifact.sha256 > after, Artifact.verify_time <= age_limit(age_s))
            .order_by(Artifact.sha256)
            .limit(_SCRUB_BATCH)
        )
        async with self._sessions() as session:
            return [(sha256, size_bytes) for sha256, size_bytes in await session.execute(query)]

    async def sweep(self) -> int:
        """Remove what nobody vouched for or nothing refers to; return how many things went."""
        removed = await self._remove_uncommitted()
        removed += await self._remove_unused_rows()
        removed += await self._remove_orphan_files()
        removed += await self._store.remove_abandoned(self._settings.orphan_grace_s)
        if removed:
            log.info("swept", removed=removed)
        return removed

    async def _remove_uncommitted(self) -> int:
        async with self._sessions.begin() as session:
            gone = await session.scalars(
                delete(Checkpoint)
                .where(
                    Checkpoint.commit_time.is_(None),
                    Checkpoint.update_time < age_limit(self._settings.pending_ttl_s),
                )
                .returning(Checkpoint.id)
            )
            return len(gone.all())

    async def _remove_unused_rows(self) -> int:
        used = select(Checkpoint.id).where(Checkpoint.sha256 == Artifact.sha256)
        async with self._sessions.begin() as session:
            unused = (await session.scalars(select(Artifact.sha256).where(~used.exists()))).all()
            return len(await release(session, unused))

    async def _remove_orphan_files(self) -> int:
        limit = datetime.now(UTC) - timedelta(seconds=self._settings.orphan_grace_s)
        removed = 0
        async for batch in self._store.files():
            old = {entry.sha256 for entry in batch if entry.update_time < limit}
            async with self._sessions() as session:
                named = await session.scalars(
                    select(Artifact.sha256).where(Artifact.sha256.in_(old))
                )
            orphans = old.difference(named)
            await self.remove_files(orphans)
            removed += len(orphans)
        return removed

    async def keep_sweeping(self) -> None:
        """Sweep now and then until cancelled."""
        while True:
            await self.sweep()
            self._sweeps.passed()
            await asyncio.sleep(self._sweeps.interval_s)

    async def keep_scrubbing(self) -> None:
        """Verify what is due now and then until cancelled."""
        while True:
            if not self._scrubbing.locked():
                await self.scrub(self._settings.scrub_age_s)
            self._scrubs.passed()
            await asyncio.sleep(self._scrubs.interval_s)
