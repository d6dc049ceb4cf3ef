"""Events leave the outbox once they are committed, in order, under one id for ever."""
# ruff: noqa: ARG002 - a stand-in takes what the relay gives.

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.accounts.v1 import edge_service_pb2
from elodrome.evaluator.v1.events_pb2 import GateDecided
from sqlalchemy import func, select, text, update

from kit import db, log, outbox
from kit.errors import RpcError
from kit.outbox import BusUnavailableError, OutboxEvent, Relay, emit
from kit.page import list_page
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine


class Store:
    """A stream in memory that keeps each event id once, as JetStream does."""

    def __init__(self) -> None:
        self.subjects: dict[str, str] = {}
        self.attempts: list[str] = []
        self.failures = 0
        self.keeps_what_fails = False
        self.sequence = 0

    async def publish(
        self, subject: str, payload: bytes, *, event_id: str, request_id: str, traceparent: str
    ) -> int | None:
        self.attempts.append(event_id)
        if self.failures:
            self.failures -= 1
            if self.keeps_what_fails:
                self.subjects[event_id] = subject
            raise BusUnavailableError("timeout")
        if event_id in self.subjects:
            return None
        self.subjects[event_id] = subject
        self.sequence += 1
        return self.sequence

    def wipe(self) -> None:
        """Lose everything, numbers included, as a store directory that was deleted does."""
        self.subjects.clear()
        self.sequence = 0

    @property
    def about(self) -> list[str]:
        return [subject.rpartition(".")[2] for subject in self.subjects.values()]


@pytest.fixture
async def engine(
    service_environment: Callable[[str], dict[str, Any]],
) -> AsyncIterator[AsyncEngine]:
    opened = db.open_engine(service_environment("evaluator")["database_url"])
    yield opened
    await opened.dispose()


@asynccontextmanager
async def relaying(engine: AsyncEngine, store: Store) -> AsyncIterator[db.Sessions]:
    wake = asyncio.Event()
    task = asyncio.create_task(Relay(engine, store, wake).run())
    yield db.Sessions(engine, {outbox.WAKE: wake})
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def emitted(sessions: db.Sessions, *about: str) -> None:
    async with sessions.begin() as session:
        for name in about:
            emit(session, GateDecided(decision_id=name), about=name)


async def unsent_count(sessions: db.Sessions) -> int:
    query = select(func.count()).where(OutboxEvent.sent_time.is_(None))
    async with sessions() as session:
        return await session.scalar(query) or 0


async def test_committed_events_leave_in_order_and_rolled_back_ones_never(
    engine: AsyncEngine,
) -> None:
    store = Store()
    async with relaying(engine, store) as sessions:
        async with sessions.begin() as session:
            emit(session, GateDecided(), about="undone")
            await session.flush()
            await session.rollback()
        names = [f"{number:03}" for number in range(150)]
        await emitted(sessions, *names)
        await eventually(lambda: len(store.about) == 150)
        assert store.about == names
        assert next(iter(store.subjects.values())) == "elodrome.evaluator.v1.GateDecided.000"

        async def all_marked() -> bool:
            return await unsent_count(sessions) == 0

        await eventually(all_marked)


async def test_a_commit_wakes_the_relay_before_its_next_poll(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POLL_S", 60)
    store = Store()
    async with relaying(engine, store) as sessions:
        for name in ("a", "b", "c"):
            await emitted(sessions, name)
            await eventually(lambda name=name: name in store.about, within_s=20)


async def test_a_publish_without_an_answer_is_repeated_under_its_id(engine: AsyncEngine) -> None:
    store = Store()
    store.failures, store.keeps_what_fails = 2, True
    async with relaying(engine, store) as sessions:
        await emitted(sessions, "first", "second")
        await eventually(lambda: "second" in store.about)
    assert store.about == ["first", "second"]
    assert len(set(store.attempts)) == 2


async def test_a_row_that_commits_late_is_sent_although_later_ones_were(
    engine: AsyncEngine,
) -> None:
    store = Store()
    async with relaying(engine, store) as sessions:
        async with sessions.begin() as slow:
            emit(slow, GateDecided(), about="early-number")
            await slow.flush()
            await emitted(sessions, "late-number")
            await eventually(lambda: store.about == ["late-number"])
        await eventually(lambda: store.about == ["late-number", "early-number"])


async def test_one_relay_works_and_another_takes_over(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_LEADER_POLL_S", 0.05)
    first, second = Store(), Store()
    async with relaying(engine, second) as sessions:
        await emitted(sessions, "a")
        await eventually(lambda: second.about == ["a"])
        async with relaying(engine, first):
            await emitted(sessions, "b")
            await eventually(lambda: second.about == ["a", "b"])
            assert first.about == []
    async with relaying(engine, first) as sessions:
        await emitted(sessions, "c")
        await eventually(lambda: first.about == ["c"])


async def test_a_bus_that_lost_its_store_is_filled_again(engine: AsyncEngine) -> None:
    store = Store()
    async with relaying(engine, store) as sessions:
        await emitted(sessions, "a", "b", "c")
        await eventually(lambda: len(store.about) == 3)

        async def all_marked() -> bool:
            return await unsent_count(sessions) == 0

        await eventually(all_marked)
        store.wipe()
        await emitted(sessions, "d")
        await eventually(lambda: sorted(store.about) == ["a", "b", "c", "d"])


async def test_events_sent_more_than_a_day_ago_are_swept(engine: AsyncEngine) -> None:
    sessions = db.Sessions(engine)
    await emitted(sessions, "old", "new", "unsent")
    async with sessions.begin() as session:
        for about, age in (("old", timedelta(hours=25)), ("new", timedelta(hours=23))):
            await session.execute(
                update(OutboxEvent)
                .where(OutboxEvent.subject.endswith(about))
                .values(sent_time=db.server_now() - age)
            )
    async with engine.begin() as connection:
        await outbox.sweep(connection)
        left = (await connection.scalars(select(OutboxEvent.subject))).all()
    assert sorted(subject.rpartition(".")[2] for subject in left) == ["new", "unsent"]


async def test_an_event_remembers_the_request_that_caused_it(engine: AsyncEngine) -> None:
    sessions = db.Sessions(engine)
    log.request_id.set("req-1")
    await emitted(sessions, "a")
    async with sessions() as session:
        assert await session.scalar(select(OutboxEvent.request_id)) == "req-1"


async def test_an_event_carries_facts_and_no_files(engine: AsyncEngine) -> None:
    async with db.Sessions(engine)() as session:
        with pytest.raises(ValueError, match="GateDecided has 3"):
            emit(session, GateDecided(decision_id="x" * 300_000), about="a")


async def listed(sessions: db.Sessions, **options: Any) -> tuple[list[str], str, int]:
    request = edge_service_pb2.ListAuditEntriesRequest(**options)
    async with sessions() as session:
        return await list_page(
            session, select(OutboxEvent), OutboxEvent, request, convert=lambda row: row.subject
        )


async def test_pages_hold_every_row_once_while_rows_come(engine: AsyncEngine) -> None:
    sessions = db.Sessions(engine)
    for number in range(5):
        await emitted(sessions, f"{number}-a", f"{number}-b")
    # Rows of one moment are told apart by their ids.
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE outbox SET create_time = '2026-01-01 00:00:00.5Z'"))
    seen, token = [], ""
    while True:
        items, token, total = await listed(sessions, page_size=3, page_token=token)
        seen += items
        assert total == 10 + (len(seen) > 3)
        if not token:
            break
        if len(seen) == 3:
            await emitted(sessions, "newcomer")
    assert len(seen) == len(set(seen)) == 10


async def test_a_page_token_belongs_to_one_list(engine: AsyncEngine) -> None:
    sessions = db.Sessions(engine)
    await emitted(sessions, "a", "b")
    _, token, _ = await listed(sessions, page_size=1, actor_id="anna")
    assert (await listed(sessions, page_size=1, actor_id="anna", page_token=token))[0]
    for wrong in ({"page_token": token}, {"page_token": "x"}, {"page_token": "W10="}):
        with pytest.raises(RpcError, match="INVALID_PAGE_TOKEN"):
            await listed(sessions, **wrong)


@pytest.mark.parametrize("size", [-1, 201])
async def test_a_page_has_at_most_two_hundred_rows(engine: AsyncEngine, size: int) -> None:
    with pytest.raises(RpcError, match=r"page_size: must lie in 0\.\.200"):
        await listed(db.Sessions(engine), page_size=size)
