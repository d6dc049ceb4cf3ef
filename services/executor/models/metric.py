"""Series of numbers over steps, stored in chunks of two parallel arrays."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Index, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, Time


class MetricSeries(Base):
    """One series of a run and what its values amount to."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("run_id", "name"),)

    id: Mapped[int] = mapped_column(BigInteger(), primary_key=True)
    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE")
    )
    name: Mapped[str]
    last_step: Mapped[int] = mapped_column(default=-1)
    last_value: Mapped[float] = mapped_column(Double(), default=0.0)
    point_count: Mapped[int] = mapped_column(default=0)
    nonfinite_count: Mapped[int] = mapped_column(default=0)
    min_value: Mapped[float | None] = mapped_column(Double())
    max_value: Mapped[float | None] = mapped_column(Double())
    value_sum: Mapped[float] = mapped_column(Double(), default=0.0)
    update_time: Mapped[Time]


class MetricChunk(Base):
    """Points of one series that arrived together, ascending by step, no step twice in a series.

    `update_sequence` is the place of their batch among the run's updates.
    """

    __tablename__ = "metric_chunks"
    __table_args__ = (Index("ix_metric_chunks_series_id_last_step", "series_id", "last_step"),)

    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    update_sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(
        BigInteger(), ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    first_step: Mapped[int]
    last_step: Mapped[int]
    point_count: Mapped[int]
    steps: Mapped[list[int]] = mapped_column(ARRAY(BigInteger()))
    values: Mapped[list[float]] = mapped_column(ARRAY(Double()))
