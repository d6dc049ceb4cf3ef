"""Slots that several owners wait for are shared by weight, whatever else they ask for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import uuid
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from kit import server
from services.executor import lifecycle, slots
from services.executor.lifecycle import Ending
from services.executor.models.job import Job
from services.executor.models.run import Run, lock_run
from services.executor.models.update import RunHead
from services.executor.settings import ExecutorSettings
from services.executor.shares import queue_positions
from services.executor.states import JobOutcome, JobState, RunType
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from kit.db import Sessions

    Environment = Callable[[str], dict[str, Any]]

ANNA, BERT, CLEO = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))


class Install:
    """The tables of an executor, and workers that take as many seconds as they are told."""

    def __init__(self, sessions: Sessions, settings: ExecutorSettings) -> None:
        self.sessions = sessions
        self.settings = settings
        self.clock_s = 0.0
        self._at_work: list[tuple[float, int, Job, Run]] = []
        self._number = itertools.count()

    async def queue(self, owner: str, count: int = 1, **fields: Any) -> list[Run]:
        """Queue runs of an owner."""
        async with self.sessions.begin() as session:
            runs = [self._run(owner, **fields) for _ in range(count)]
            session.add_all(runs)
            await session.flush()
            session.add_all([RunHead(run_id=run.id) for run in runs])
            session.add_all([Job(run_id=run.id, attempt=1, state=JobState.PENDING) for run in runs])
        return runs

    def _run(self, owner: str, **fields: Any) -> Run:
        return Run(
            **{
                "id": str(uuid.uuid4()),
                "name": f"run {next(self._number)}",
                "type": RunType.TRAINING,
                "owner_id": owner,
                "config": {},
                "seed": 1,
                "attempt": 1,
                "max_retries": 0,
                "retry_backoff_s": 60,
                **fields,
            }
        )

    async def take(self) -> None:
        """Give free slots away until none is left, or nobody waits."""
        async for taken in slots.take(self.sessions, self.settings):
            for job, run in taken:
                item = (self.clock_s + run.time_limit_s, next(self._number), job, run)
                heapq.heappush(self._at_work, item)

    async def work(self, count: int) -> Counter[str]:
        """Have `count` workers end, others take their slots; return each owner's seconds."""
        used: Counter[str] = Counter()
        if not self._at_work:
            await self.take()
        for _ in range(count):
            self.clock_s, _, job, run = heapq.heappop(self._at_work)
            used[run.owner_id] += run.time_limit_s * run.worker_count
            async with self.sessions.begin() as session:
                locked, _ = await lock_run(session, run.id)
                current = await session.get(Job, job.id)
                assert current is not None
                assert current.launch_time is not None
                ended = current.launch_time + timedelta(seconds=run.time_limit_s)
                ending = Ending(JobOutcome.USER_ERROR, "it took as long as it was told")
                await lifecycle.settle_job(session, locked, current, ending, now=ended)
            await self.take()
        return used


@asynccontextmanager
async def install(service_environment: Environment, **settings: Any) -> AsyncIterator[Install]:
    own = ExecutorSettings(**service_environment("executor"), **settings)
    async with server.opened(own) as context:
        yield Install(context.sessions, own)


def parts(used: Mapping[str, float]) -> dict[str, float]:
    total = sum(used.values())
    return {owner: seconds / total for owner, seconds in used.items()}


@pytest.mark.parametrize("max_jobs", [1, 4])
async def test_alike_owners_get_alike_however_many_runs_each_has_queued(
    service_environment: Environment, max_jobs: int
) -> None:
    async with install(service_environment, max_jobs=max_jobs) as elodrome:
        await elodrome.queue(ANNA, 150, time_limit_s=10)
        await elodrome.queue(BERT, 80, time_limit_s=10, priority=100)
        await elodrome.queue(CLEO, 70, time_limit_s=10)
        used = parts(await elodrome.work(200))
    for owner in (ANNA, BERT, CLEO):
        assert used[owner] == pytest.approx(1 / 3, rel=0.1)


async def test_shares_are_by_weight_and_by_the_time_that_workers_take(
    service_environment: Environment,
) -> None:
    weights = {ANNA: 3.0, BERT: 2.0}
    async with install(service_environment, max_jobs=4, owner_weights=weights) as elodrome:
        await elodrome.queue(ANNA, 200, time_limit_s=20)
        await elodrome.queue(BERT, 200, time_limit_s=5)
        await elodrome.queue(CLEO, 200, time_limit_s=5, worker_count=2)
        # What each needs is known from here on.
        await elodrome.work(20)
        used = parts(await elodrome.work(100))
    assert used[ANNA] == pytest.approx(3 / 6, rel=0.1)
    assert used[BERT] == pytest.approx(2 / 6, rel=0.1)
    assert used[CLEO] == pytest.approx(1 / 6, rel=0.1)


async def test_having_been_away_is_no_credit_and_having_worked_alone_no_debt(
    service_environment: Environment,
) -> None:
    async with install(service_environment, max_jobs=2) as elodrome:
        await elodrome.queue(ANNA, 60, time_limit_s=60)
        await elodrome.work(20)
        # Anna has had twenty minutes, Bert comes now: they share what follows.
        await elodrome.queue(BERT, 20, time_limit_s=60)
        used = parts(await elodrome.work(30))
        assert used[ANNA] == pytest.approx(1 / 2, rel=0.1)
        await elodrome.work(30)
        # Nobody waits any more; whoever comes back, they begin alike.
        await elodrome.queue(BERT, 20, time_limit_s=60)
        await elodrome.queue(ANNA, 20, time_limit_s=60)
        used = parts(await elodrome.work(30))
        assert used[ANNA] == pytest.approx(1 / 2, rel=0.1)


async def test_an_owner_who_sends_run_after_run_gets_no_more_than_one_who_queues_them(
    service_environment: Environment,
) -> None:
    async with install(service_environment, max_jobs=1) as elodrome:
        await elodrome.queue(ANNA, 40, time_limit_s=10)
        used: Counter[str] = Counter()
        waits = False
        for _ in range(30):
            if not waits:
                await elodrome.queue(BERT, time_limit_s=10)
            ended = await elodrome.work(1)
            waits = BERT not in ended
            used += ended
    # One in three at least: a run is queued once the last has ended, so another is served first.
    assert 0.3 <= parts(used)[BERT] <= 0.55


async def test_the_queue_shows_the_order_in_which_runs_get_their_slots(
    service_environment: Environment,
) -> None:
    weights = {BERT: 2.0}
    async with install(service_environment, max_jobs=1, owner_weights=weights) as elodrome:
        await elodrome.queue(ANNA, 1, time_limit_s=10)
        await elodrome.queue(BERT, 1, time_limit_s=10)
        await elodrome.take()
        for owner, priority in ((ANNA, 0), (ANNA, 5), (BERT, 0), (BERT, 1), (BERT, 50)):
            await elodrome.queue(owner, priority=priority, time_limit_s=10)
        async with elodrome.sessions() as session:
            places = await queue_positions(session)
        order = []
        while len(order) < len(places):
            await elodrome.work(1)
            order += [run for _, _, _, run in elodrome._at_work]
    assert [run.id for run in order] == sorted(places, key=places.__getitem__)
    own = [run.priority for run in order if run.owner_id == BERT]
    assert own == [50, 1, 0, 0]


async def test_an_owner_who_comes_while_slots_are_given_away_has_the_next_turn(
    service_environment: Environment,
) -> None:
    async with install(service_environment, max_jobs=2) as elodrome:
        await elodrome.queue(ANNA, time_limit_s=10)
        async with elodrome.sessions.begin() as session:
            await session.execute(slots.LOCK)
            taking = asyncio.create_task(elodrome.take())

            async def waits() -> bool:
                waiting = text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                async with elodrome.sessions() as looking:
                    return await looking.scalar(waiting) is not None

            await eventually(waits)
            await elodrome.queue(BERT, time_limit_s=10)
        await taking
        assert await elodrome.work(2) == {ANNA: 10, BERT: 10}
