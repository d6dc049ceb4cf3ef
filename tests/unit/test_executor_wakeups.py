"""Waking whoever waits for a topic."""

from __future__ import annotations

import asyncio

from services.executor import wakeups


async def test_a_listener_is_woken_for_its_topic_alone() -> None:
    with wakeups.listening("mine") as mine, wakeups.listening("other") as other:
        waiting = asyncio.create_task(wakeups.wait(mine, timeout_s=60))
        wakeups.wake("mine")
        # Without the wake-up this would take the minute, and fail by the limit of all tests.
        await waiting
        assert not mine.is_set()
        assert not other.is_set()


async def test_what_happened_before_the_wait_is_not_missed() -> None:
    with wakeups.listening("mine") as mine:
        wakeups.wake("mine")
        await asyncio.wait_for(wakeups.wait(mine, timeout_s=60), timeout=30)


async def test_a_wait_ends_by_itself() -> None:
    with wakeups.listening("mine") as mine:
        await wakeups.wait(mine, timeout_s=0.01)
    wakeups.wake("mine")
