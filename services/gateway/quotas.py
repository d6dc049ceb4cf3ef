"""Rate limits that hold across replicas: counted in Postgres, spent from leased blocks.

A replica takes a twentieth of a window's quota from Postgres at a time and spends it from memory,
so that a request costs a query only once in a while and the sum over replicas stays exact.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from kit import errors
from services.gateway.models.limit import RateWindow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions

_BLOCKS = 20
_MAX_BUCKETS = 10_000


@dataclass
class _Lease:
    """What one replica may still spend of a bucket in the window that ends at `window_end`."""

    window_end: int
    left: int = 0
    is_exhausted: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """Counts requests by bucket."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._leases: dict[str, _Lease] = {}

    async def spend(
        self, bucket: str, limit: int, *, window_s: int = 60, reason: str = "RATE_LIMITED"
    ) -> None:
        """Count one request against a bucket of `limit` per window.

        Raises RESOURCE_EXHAUSTED, with the rest of the window as time to wait, once it is empty.
        """
        now = time.time()
        lease = self._leases.get(bucket)
        if lease is None or lease.window_end <= now:
            lease = self._open(bucket, now, window_s)
        while not lease.left and not lease.is_exhausted:
            async with lease.lock:
                if not lease.left and not lease.is_exhausted:
                    await self._lease_block(bucket, lease, limit)
        if not lease.left:
            raise errors.resource_exhausted(
                f"more than {limit} in {window_s} s",
                reason=reason,
                retry_after_s=max(1, math.ceil(lease.window_end - now)),
                limit=limit,
                window_s=window_s,
            )
        lease.left -= 1

    def _open(self, bucket: str, now: float, window_s: int) -> _Lease:
        if len(self._leases) >= _MAX_BUCKETS:
            self._leases = {b: kept for b, kept in self._leases.items() if kept.window_end > now}
        lease = _Lease(window_end=(int(now) // window_s + 1) * window_s)
        self._leases[bucket] = lease
        return lease

    async def _lease_block(self, bucket: str, lease: _Lease, limit: int) -> None:
        block = max(1, limit // _BLOCKS)
        row = {"bucket": bucket, "window_end": lease.window_end, "used": block}
        taken = insert(RateWindow).values(row)
        taken = taken.on_conflict_do_update(
            index_elements=[RateWindow.bucket, RateWindow.window_end],
            set_={"used": RateWindow.used + block},
        ).returning(RateWindow.used)
        async with self._sessions.begin() as session:
            used = (await session.scalars(taken)).one()
        lease.left = max(0, min(block, limit - (used - block)))
        lease.is_exhausted = lease.left < block


async def sweep(session: AsyncSession) -> None:
    """Forget windows that are over."""
    await session.execute(delete(RateWindow).where(RateWindow.window_end < int(time.time())))
