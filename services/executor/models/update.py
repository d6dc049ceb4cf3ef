"""What happened to a run, in the order in which it was committed.

Every update takes the next `update_sequence` under the row lock of the run's head and holds the
lock until commit, so sequences become visible in order and a reader that has seen n misses nothing
up to n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, Uuid, bindparam, select, update
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base
from services.executor import wakeups

if TYPE_CHECKING:
    from elodrome.executor.v1 import run_service_pb2
    from sqlalchemy.ext.asyncio import AsyncSession


class RunHead(Base):
    """The counters of a run that change with every write; a narrow row of its own."""

    __tablename__ = "run_heads"

    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    epoch: Mapped[int] = mapped_column(default=0)
    append_sequence: Mapped[int] = mapped_column(default=0)
    update_sequence: Mapped[int] = mapped_column(default=0)
    line_count: Mapped[int] = mapped_column(default=0)


class RunUpdate(Base):
    """One update other than metrics; those carry their sequence in their own table."""

    __tablename__ = "run_updates"

    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    message: Mapped[bytes]


_LOCK = (
    select(RunHead)
    .where(RunHead.run_id == bindparam("run_id"))
    .with_for_update()
    .execution_options(populate_existing=True)
)


async def lock_head(session: AsyncSession, run_id: str) -> RunHead:
    """Lock the counters of a run. Whoever needs the run's row too locks that one first."""
    return (await session.scalars(_LOCK, {"run_id": run_id})).one()


async def record(
    session: AsyncSession, run_id: str, message: run_service_pb2.WatchRunResponse
) -> None:
    """Append an update to what watchers of the run see."""
    advance = (
        update(RunHead)
        .where(RunHead.run_id == run_id)
        .values(update_sequence=RunHead.update_sequence + 1)
        .returning(RunHead.update_sequence)
        .execution_options(synchronize_session=False)
    )
    sequence = (await session.execute(advance)).scalar_one()
    session.add(RunUpdate(run_id=run_id, sequence=sequence, message=message.SerializeToString()))
    wakeups.after_commit(session, run_id)


async def next_epoch(session: AsyncSession, run_id: str) -> int:
    """Take the run's next fencing epoch; every earlier one is refused from now on."""
    advance = (
        update(RunHead)
        .where(RunHead.run_id == run_id)
        .values(epoch=RunHead.epoch + 1, append_sequence=0)
        .returning(RunHead.epoch)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(advance)).scalar_one()
