"""What evaluations, matches and builds have in common: each is played by one run of the executor.

Each moves by its table of states, only forward, and never after it has ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import Enum, select
from sqlalchemy.orm import Mapped, mapped_column

from kit import errors
from kit.db import CreateTime, Id, Reference, UpdateTime, server_now
from kit.states import Machine

if TYPE_CHECKING:
    from elodrome.executor.v1 import run_service_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal


class State(StrEnum):
    """Where a workload stands; the wire's names without their prefix."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    VOID = "VOID"
    """Of matches alone: the platform was at fault."""


ACTIVE = (State.PENDING, State.RUNNING)
ENDS = {State.COMPLETED, State.FAILED, State.CANCELLED}


def machine(noun: str, ends: set[State]) -> Machine[State]:
    """Return the moves of a workload that ends in one of `ends`."""
    return Machine(noun, {State.PENDING: {State.RUNNING, *ends}, State.RUNNING: ends})


class Workload:
    """The columns and moves of a workload; a mixin of mapped classes.

    `run_owner_id` is whom the run is started for. `revision` counts changes that a watcher should
    hear of. `stop_due` says that the run must still be ended at the executor.
    """

    NOUN: ClassVar[str]
    MOVES: ClassVar[Machine[State]]

    id: Mapped[Id]
    state: Mapped[State] = mapped_column(
        Enum(State, native_enum=False, length=16), default=State.PENDING
    )
    run_id: Mapped[Reference | None] = mapped_column(index=True)
    owner_id: Mapped[Reference]
    run_owner_id: Mapped[Reference]
    epoch: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    time_limit_s: Mapped[int]
    traceparent: Mapped[str] = mapped_column(default="", server_default="")
    revision: Mapped[int] = mapped_column(default=1)
    stop_due: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[CreateTime]
    start_time: Mapped[datetime | None]
    finish_time: Mapped[datetime | None]
    update_time: Mapped[UpdateTime]

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE

    @property
    def wire_state(self) -> str:
        """The state on the wire."""
        return f"{self.NOUN.upper()}_STATE_{self.state}"

    @property
    def deadline(self) -> datetime:
        """When it counts as failed unless it has ended."""
        return self.create_time + timedelta(seconds=self.time_limit_s)

    @property
    def unfinished(self) -> str:
        """What there is where its run has ended before it, as the end of a sentence."""
        return "without a result"

    def run_request(self) -> run_service_pb2.CreateRunRequest:
        """Return the run that plays it; the request id is its own id, so a repeat starts none."""
        raise NotImplementedError

    def admit(self, worker: Principal) -> None:
        """Refuse a worker of another run, one that was replaced, and any once it has ended."""
        if self.run_id is None and self.is_active:
            raise errors.unavailable(
                f"the {self.NOUN} does not know its run yet", reason="RUN_NOT_LINKED"
            )
        if worker.run_id != (self.run_id or worker.run_id):
            raise errors.permission_denied(
                "the token is of another run", reason="WRONG_RUN", run_id=worker.run_id
            )
        if worker.epoch < self.epoch or worker.epoch < 1:
            raise errors.failed_precondition(
                f"epoch {worker.epoch} is older than {self.epoch}",
                reason="STALE_EPOCH",
                epoch=worker.epoch,
                newest=self.epoch,
            )
        if not self.is_active:
            raise errors.failed_precondition(
                f"the {self.NOUN} is {self.state}",
                reason=f"{self.NOUN.upper()}_ENDED",
                state=self.state,
            )
        self.epoch = worker.epoch

    def take_up(self, now: datetime) -> None:
        """Note that a worker is at it; the first one counts."""
        if self.state is State.PENDING:
            self.move(State.RUNNING)
            self.start_time = now

    def fail(self, error: str, now: datetime) -> None:
        """End without results, with the reason in a sentence."""
        self.end(State.FAILED, now, error)

    def cancel(self, error: str, now: datetime) -> None:
        """End at somebody's wish; a second wish changes nothing."""
        if self.state is not State.CANCELLED:
            self.end(State.CANCELLED, now, error)

    def move(self, new: State) -> None:
        """Move to another state; raises FAILED_PRECONDITION where there is no such move."""
        self.MOVES.check(self.state, new)
        self.state = new
        self.revision += 1

    def end(self, new: State, now: datetime, error: str = "") -> None:
        """Move to a final state."""
        self.move(new)
        self.finish_time = now
        self.error = error
        # A completed run ends by itself; any other must be told.
        self.stop_due = new is not State.COMPLETED


async def current_time(session: AsyncSession) -> datetime:
    """Read the database's clock, by which every workload is judged."""
    return (await session.scalars(select(server_now()))).one()
