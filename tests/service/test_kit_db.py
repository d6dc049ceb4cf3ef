"""What is done once a transaction is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from kit import db

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncSession


@pytest.fixture
async def sessions(
    service_environment: Callable[[str], dict[str, Any]],
) -> AsyncIterator[db.Sessions]:
    engine = db.open_engine(service_environment("evaluator")["database_url"], pool_size=2)
    yield db.Sessions(engine)
    await engine.dispose()


async def change(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))


async def test_it_is_done_after_the_commit_and_in_order(sessions: db.Sessions) -> None:
    done: list[str] = []
    async with sessions.begin() as session:
        await change(session)
        db.after_commit(session, lambda: done.append("first"))
        db.after_commit(session, lambda: done.append("second"))
        assert done == []
    assert done == ["first", "second"]


async def test_nothing_is_done_after_a_rollback_nor_later(sessions: db.Sessions) -> None:
    done: list[str] = []
    async with sessions.begin() as session:
        await change(session)
        db.after_commit(session, lambda: done.append("never"))
        await session.rollback()
    async with session.begin():
        await change(session)
    await session.close()
    assert done == []
