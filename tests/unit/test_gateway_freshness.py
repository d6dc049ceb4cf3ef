"""The cache of sessions and keys: together, never stale, never stuck."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.freshness import Fresh


class Source:
    """Answers after a turn of the loop, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.value = "first"

    async def read(self, keys: list[str]) -> dict[str, str]:
        self.asked.append(keys)
        value = self.value
        await asyncio.sleep(0)
        return dict.fromkeys(keys, value)


async def test_many_who_ask_at_once_cost_one_query() -> None:
    source = Source()
    fresh = Fresh(source.read)
    assert await asyncio.gather(*(fresh.get("a") for _ in range(50))) == ["first"] * 50
    assert await fresh.get("a") == "first"
    assert source.asked == [["a"]]


async def test_after_a_change_the_old_answer_is_never_given() -> None:
    source = Source()
    fresh = Fresh(source.read)
    under_way = asyncio.create_task(fresh.get("a"))
    await asyncio.sleep(0)
    source.value = "second"
    fresh.forget()
    assert await fresh.get("a") == "second"
    assert await under_way in {"first", "second"}


async def test_changes_that_never_stop_do_not_hold_anybody_up() -> None:
    source = Source()
    fresh = Fresh(source.read)

    async def change() -> None:
        for _ in range(2000):
            fresh.forget()
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    for _ in range(20):
        answers = await asyncio.gather(*(fresh.get(key) for key in "abab"))
        assert answers == ["first"] * 4
    assert not changing.done()
    changing.cancel()


async def test_a_failed_query_fails_those_who_waited_and_nobody_after() -> None:
    source = Source()
    broken = True

    async def read(keys: list[str]) -> dict[str, str]:
        if broken:
            raise ConnectionError
        return await source.read(keys)

    fresh = Fresh(read)
    for answer in await asyncio.gather(*(fresh.get("a") for _ in range(3)), return_exceptions=True):
        assert isinstance(answer, ConnectionError)
    with pytest.raises(ConnectionError):
        await fresh.get("a")
    broken = False
    assert await fresh.get("a") == "first"
