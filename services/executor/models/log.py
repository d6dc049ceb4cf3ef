"""The lines that workers printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from sqlalchemy import ForeignKey, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, Time
from services.executor.models.messages import stamp

if TYPE_CHECKING:
    from datetime import datetime


class LogLine(Base):
    """One printed line; `number` is contiguous within the run."""

    __tablename__ = "log_lines"

    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    time: Mapped[Time]
    text: Mapped[str]

    def to_proto(self) -> run_pb2.LogLine:
        """Return the line as others see it."""
        return run_pb2.LogLine(
            number=self.number, attempt=self.attempt, time=stamp(self.time), text=self.text
        )


def line_row(run_id: str, number: int, attempt: int, now: datetime, text: str) -> dict[str, object]:
    """Return the values of one row, for inserting many at once."""
    return {"run_id": run_id, "number": number, "attempt": attempt, "time": now, "text": text}
