"""Two small services as programs that can be killed: `python -m tests.service.kit_program NAME`.

The evaluator emits an event for each ticket; the registry writes an effect for each event.
"""
# ruff: noqa: ARG002, N802 - RPC methods carry the names and arguments of the contract.

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elodrome.accounts.v1 import edge_service_pb2, edge_service_pb2_grpc
from elodrome.evaluator.v1.events_pb2 import GateDecided
from sqlalchemy import Text, select
from sqlalchemy.orm import Mapped, mapped_column

from kit import db, server
from kit.bus import Consumer
from kit.db import Base
from kit.outbox import emit
from tests.service.kit_probe import EvaluatorProbe, RegistryProbe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncSession

ROOT = Path(__file__).parents[2]


class Effect(Base):
    """A row for each time an event took effect."""

    __tablename__ = "kit_effects"

    number: Mapped[int] = mapped_column(primary_key=True)
    about: Mapped[str] = mapped_column(Text)


async def effects(sessions: db.Sessions) -> list[str]:
    """Return what took effect, in order."""
    async with sessions() as session:
        return list(await session.scalars(select(Effect.about).order_by(Effect.number)))


class Decider(edge_service_pb2_grpc.EdgeServiceServicer):
    """Emits `GateDecided` about the path of each ticket."""

    def __init__(self, context: server.Context) -> None:
        self._sessions = context.sessions

    async def CreateStreamTicket(self, request: Any, context: Any) -> Any:
        async with self._sessions.begin() as session:
            emit(session, GateDecided(decision_id=request.path), about=request.path)
        return edge_service_pb2.StreamTicket(ticket=request.path)


async def take_effect(session: AsyncSession, event: GateDecided) -> None:
    """Write the effect of an event."""
    session.add(Effect(about=event.decision_id))


def build_evaluator(context: server.Context) -> server.Parts:
    """Put the emitting service together."""
    return server.Parts([Decider(context)])


async def build_registry(context: server.Context) -> server.Parts:
    """Put the consuming service together, with its table."""
    async with context.engine.begin() as connection:
        await connection.run_sync(Effect.__table__.create, checkfirst=True)
    handlers = {GateDecided: take_effect}
    return server.Parts(
        [], consumers=[Consumer(durable="registry", stream="EVALUATOR", handlers=handlers)]
    )


def variables(name: str, settings: dict[str, Any]) -> dict[str, str]:
    """Return the variables that carry the settings of a service to its program."""
    own = {"grpc_port", "metrics_port"}
    return {
        f"ELODROME_{f'{name}_' if key in own else ''}{key}".upper(): str(value)
        for key, value in settings.items()
    }


@contextmanager
def program(name: str, settings: dict[str, Any], **extra: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of the two as a process of its own; it is killed at the end if it still lives."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        **variables(name, settings),
        **extra,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.kit_program", name],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    if sys.argv[1] == "evaluator":
        server.main(EvaluatorProbe, build_evaluator)
    else:
        server.main(RegistryProbe, build_registry)
