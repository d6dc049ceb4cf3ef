"""An emitting evaluator and a consuming registry, and what they did."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from elodrome.evaluator.v1.events_pb2 import GateDecided
from sqlalchemy import func, select

from kit import auth, log, server
from kit.bus import Consumer
from kit.inbox import InboxEvent
from kit.outbox import emit
from tests.service.kit_probe import EvaluatorProbe, RegistryProbe
from tests.service.kit_program import Effect, effects
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Base, Sessions

Environment = "Callable[[str], dict[str, Any]]"


class Recorder:
    """Handlers that write an effect, and fail as often as they are told to."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.seen: list[tuple[str, str, str]] = []

    async def gate_decided(self, session: AsyncSession, event: GateDecided) -> None:
        """Write the effect; what is `seen` is not yet committed."""
        session.add(Effect(about=event.decision_id))
        await session.flush()
        if self.failures.get(event.decision_id, 0) > 0:
            self.failures[event.decision_id] -= 1
            raise RuntimeError("the models table is on fire")
        self.seen.append((event.decision_id, auth.principal().subject, log.request_id.get()))

    def consumer(self) -> Consumer:
        """Return what the registry reads from the evaluator, with these handlers."""
        return Consumer(
            durable="registry", stream="EVALUATOR", handlers={GateDecided: self.gate_decided}
        )


@asynccontextmanager
async def emitting(environment: Environment) -> AsyncIterator[server.Context]:
    """An evaluator that may emit events."""
    settings = EvaluatorProbe(**environment("evaluator"))
    async with server.running(settings, lambda _: server.Parts([])) as evaluator:
        yield evaluator.context


@asynccontextmanager
async def consuming(settings: RegistryProbe, recorder: Recorder) -> AsyncIterator[server.Context]:
    """A registry that gives the evaluator's events to `recorder`."""

    async def build(context: server.Context) -> server.Parts:
        async with context.engine.begin() as connection:
            await connection.run_sync(Effect.__table__.create, checkfirst=True)
        return server.Parts([], consumers=[recorder.consumer()])

    async with server.running(settings, build) as registry:
        yield registry.context


@asynccontextmanager
async def pair(
    environment: Environment, recorder: Recorder
) -> AsyncIterator[tuple[server.Context, server.Context]]:
    """Both."""
    settings = RegistryProbe(**environment("registry"))
    async with emitting(environment) as evaluator, consuming(settings, recorder) as registry:
        yield evaluator, registry


async def decided(context: server.Context, *decision_ids: str) -> None:
    """Emit an event for each decision, in this order."""
    async with context.sessions.begin() as session:
        for decision_id in decision_ids:
            emit(session, GateDecided(decision_id=decision_id), about=decision_id)


async def effects_of(context: server.Context, *, events: int) -> list[str]:
    """Wait until so many events are committed as applied; return what took effect, in order."""

    async def committed() -> bool:
        return await count(context.sessions, InboxEvent) >= events

    # Longer than the bus waits before it repeats a delivery.
    await eventually(committed, within_s=20)
    return await effects(context.sessions)


async def count(sessions: Sessions, table: type[Base]) -> int:
    """Return how many rows a table has."""
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0
