"""What each owner's workers have had so far."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, Time


class Share(Base):
    """The place of an owner among those who wait for slots; `services.executor.shares` keeps it."""

    __tablename__ = "shares"

    owner_id: Mapped[str] = mapped_column(primary_key=True)
    tag_s: Mapped[float]
    """Virtual time: seconds that the owner's workers had, over its weight. Least is next."""
    weight: Mapped[float]
    mean_s: Mapped[float]
    """Seconds for which a worker of the owner holds its slot, of late."""
    active_time: Mapped[Time]
    """When the owner last got a slot, gave one back, or came to wait."""
