"""Checkpoints the registry told of: what is needed to evaluate one without being asked."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Id, Reference


class SavedCheckpoint(Base):
    """One committed checkpoint; `ordinal` counts those of its run from 1, in order of arrival."""

    __tablename__ = "saved_checkpoints"

    id: Mapped[Id]
    run_id: Mapped[Reference] = mapped_column(index=True)
    owner_id: Mapped[Reference]
    sha256: Mapped[str]
    game: Mapped[str]
    scenario: Mapped[str]
    ordinal: Mapped[int]
    create_time: Mapped[CreateTime]
