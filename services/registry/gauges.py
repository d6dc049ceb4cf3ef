"""What stands in the registry's tables, as gauges: files, and what is out of line."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client import Gauge
from sqlalchemy import func, select

from kit.gauges import age_s, divergence
from services.registry.models.checkpoint import Artifact, Checkpoint, age_limit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.gauges import Measure
    from services.registry.settings import RegistrySettings

SWEEP = "sweep"
SCRUB = "scrub"

_COUNT_S = 60.0
"""Between two counts of the stored files, for which every row of theirs is read."""

artifacts = Gauge("elodrome_artifacts", "Stored files")
artifact_bytes = Gauge("elodrome_artifacts_bytes", "Size of the stored files")


def measure(settings: RegistrySettings) -> Measure:
    """Return what sets the gauges of a registry that sweeps and scrubs by these settings.

    Something is out of line from when it is due; a loop has its interval to come round to it.
    """
    kept_for = timedelta(seconds=settings.pending_ttl_s)
    verified_for = timedelta(seconds=settings.scrub_age_s)

    count_due = time.monotonic()

    async def look(session: AsyncSession) -> None:
        nonlocal count_due
        if time.monotonic() >= count_due:
            await _count(session)
            count_due = time.monotonic() + _COUNT_S
        abandoned = select(age_s(Checkpoint.update_time + kept_for)).where(
            Checkpoint.commit_time.is_(None),
            Checkpoint.update_time < age_limit(settings.pending_ttl_s),
        )
        divergence.labels(SWEEP).set(await session.scalar(abandoned) or 0.0)
        unverified = select(age_s(Artifact.verify_time + verified_for)).where(
            Artifact.verify_time <= age_limit(settings.scrub_age_s)
        )
        divergence.labels(SCRUB).set(await session.scalar(unverified) or 0.0)

    return look


async def _count(session: AsyncSession) -> None:
    sizes = select(func.count(), func.coalesce(func.sum(Artifact.size_bytes), 0))
    count, total_bytes = (await session.execute(sizes)).one()
    artifacts.set(count)
    artifact_bytes.set(total_bytes)
