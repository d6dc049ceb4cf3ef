"""Long loops that leave the event loop to others now and then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Item = TypeVar("Item")

CHUNK = 100
"""Jobs that are looked at before anything else may run: some ten milliseconds."""


async def in_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield items of which most need nothing, with a turn for others after each hundred."""
    for place, item in enumerate(items, start=1):
        yield item
        if place % CHUNK == 0:
            await asyncio.sleep(0)
