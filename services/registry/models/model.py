"""Models, their versions and aliases, and the one rule of promotion: one stable version at a time.

Every change below a model begins by locking the model's row, so changes to one model follow each
other and need no retries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.registry.v1 import events_pb2, model_pb2
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    Uuid,
    bindparam,
    func,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit import errors, outbox
from kit.db import Base, CreateTime, Id, Json, Reference, Time, UpdateTime, new_id, server_now
from services.registry.models.checkpoint import (
    Checkpoint,
    metrics_from_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

CANDIDATE = "candidate"
STABLE = "stable"
ARCHIVED = "archived"
TAGS = (CANDIDATE, STABLE, ARCHIVED, "experimental")

GATE = model_pb2.PROMOTION_KIND_GATE
OVERRIDE = model_pb2.PROMOTION_KIND_OVERRIDE
ROLLBACK = model_pb2.PROMOTION_KIND_ROLLBACK


class Model(Base):
    """A line of agents for one purpose."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("owner_id", "request_id"),
        Index(
            "uq_models_name",
            func.lower(text("name")),
            unique=True,
            postgresql_where=text("delete_time IS NULL"),
        ),
        Index("ix_models_create_time", "create_time", "id"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str]
    owner_id: Mapped[Reference]
    game_id: Mapped[Reference | None] = mapped_column(ForeignKey("games.id"))
    map_id: Mapped[Reference | None] = mapped_column(ForeignKey("maps.id"))
    styles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    private: Mapped[bool]
    version_count: Mapped[int] = mapped_column(server_default="0")
    request_id: Mapped[Reference | None]
    delete_time: Mapped[Time | None]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    def new_version(self, checkpoint: Checkpoint, *, tag: str, creator_id: str) -> Version:
        """Return the next version, which publishes `checkpoint`; the model's row is locked."""
        self.version_count = self.version_count + 1
        return Version(
            id=new_id(),
            model=self,
            number=self.version_count,
            tag=tag,
            checkpoint=checkpoint,
            metrics=checkpoint.metrics,
            creator_id=creator_id,
            aliases=[],
        )

    def to_proto(self, heads: Sequence[Version], aliases: Sequence[Alias]) -> model_pb2.Model:
        """Return the model; `heads` are its stable and its newest version, if there are any."""
        stable = next((version for version in heads if version.tag == STABLE), None)
        newest = max(heads, key=lambda version: version.number, default=None)
        return model_pb2.Model(
            id=self.id,
            name=self.name,
            description=self.description,
            owner_id=self.owner_id,
            game_id=self.game_id or "",
            map_id=self.map_id or "",
            styles=self.styles,
            private=self.private,
            tag=newest.tag if newest else "",
            stable_version=stable.to_proto() if stable else None,
            newest_version=newest.to_proto() if newest else None,
            version_count=self.version_count,
            aliases=[alias.to_proto() for alias in aliases],
            create_time=self.create_time,
            update_time=self.update_time,
            delete_time=self.delete_time,
        )


class Version(Base):
    """One checkpoint published under a model."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("model_id", "request_id"),
        Index(
            "uq_versions_stable_of_model",
            "model_id",
            unique=True,
            postgresql_where=text("tag = 'stable'"),
        ),
        Index("ix_versions_model_id_create_time", "model_id", "create_time", "id"),
        Index("ix_versions_checkpoint_id", "checkpoint_id"),
    )

    id: Mapped[Id]
    model_id: Mapped[Reference] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    tag: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    checkpoint_id: Mapped[Reference] = mapped_column(ForeignKey("checkpoints.id"))
    metrics: Mapped[Json]
    creator_id: Mapped[Reference]
    request_id: Mapped[Reference | None]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    model: Mapped[Model] = relationship(lazy="joined", innerjoin=True)
    checkpoint: Mapped[Checkpoint] = relationship(lazy="joined", innerjoin=True)
    aliases: Mapped[list[Alias]] = relationship(
        back_populates="version", order_by="Alias.name", lazy="selectin"
    )

    def announce(self, session: AsyncSession) -> None:
        """Tell the others that it was published."""
        event = events_pb2.VersionCreated(
            version_id=self.id,
            model_id=self.model_id,
            model_name=self.model.name,
            number=self.number,
            checkpoint_id=self.checkpoint_id,
            run_id=self.checkpoint.run_id,
            sha256=self.checkpoint.sha256,
            creator_id=self.creator_id,
            create_time=self.create_time,
        )
        outbox.emit(session, event, about=self.id)

    def to_proto(self) -> model_pb2.Version:
        """Return the version with its checkpoint's facts."""
        return model_pb2.Version(
            id=self.id,
            model_id=self.model_id,
            model_name=self.model.name,
            number=self.number,
            tag=self.tag,
            description=self.description,
            checkpoint_id=self.checkpoint_id,
            run_id=self.checkpoint.run_id,
            artifact=self.checkpoint.artifact.to_proto(),
            signature=self.checkpoint.signature,
            metrics=metrics_from_json(self.metrics),
            aliases=[alias.name for alias in self.aliases],
            creator_id=self.creator_id,
            create_time=self.create_time,
            update_time=self.update_time,
        )


class Alias(Base):
    """A movable name for one version of a model."""

    __tablename__ = "aliases"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[Reference] = mapped_column(ForeignKey("versions.id"), index=True)
    update_time: Mapped[UpdateTime]

    version: Mapped[Version] = relationship(back_populates="aliases", lazy="joined", innerjoin=True)

    def to_proto(self) -> model_pb2.Alias:
        """Return the name and what it points at."""
        return model_pb2.Alias(
            name=self.name,
            model_id=self.model_id,
            version_id=self.version_id,
            version_number=self.version.number,
            update_time=self.update_time,
        )


class Promotion(Base):
    """One line of a model's history. A trigger refuses to change or remove it.

    It names what it is about without foreign keys: it outlives the model.
    """

    __tablename__ = "promotions"
    __table_args__ = (Index("ix_promotions_model_id_create_time", "model_id", "create_time"),)

    id: Mapped[Id]
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    model_id: Mapped[Reference]
    version_id: Mapped[Reference] = mapped_column(index=True)
    version_number: Mapped[int]
    previous_version_id: Mapped[Reference | None]
    kind: Mapped[int]
    decision_id: Mapped[Reference | None]
    reason: Mapped[str]
    actor_id: Mapped[str]
    create_time: Mapped[CreateTime]

    def to_proto(self) -> model_pb2.Promotion:
        """Return the line."""
        return model_pb2.Promotion(
            id=self.id,
            model_id=self.model_id,
            version_id=self.version_id,
            version_number=self.version_number,
            previous_version_id=self.previous_version_id or "",
            kind=model_pb2.PromotionKind.Name(self.kind),
            decision_id=self.decision_id or "",
            reason=self.reason,
            actor_id=self.actor_id,
            create_time=self.create_time,
        )


async def stable_of(session: AsyncSession, model_id: str) -> Version | None:
    """Return the model's stable version."""
    return await session.scalar(
        select(Version).where(Version.model_id == model_id, Version.tag == STABLE)
    )


async def stable_id_of(session: AsyncSession, model_id: str) -> str | None:
    """Return the id of the model's stable version, straight from the table."""
    return await session.scalar(
        select(Version.id).where(Version.model_id == model_id, Version.tag == STABLE)
    )


async def promoted_as_of(session: AsyncSession, model_id: str, moment: datetime) -> str | None:
    """Return the id of the version that was stable at `moment`, itself included."""
    return await session.scalar(
        select(Promotion.version_id)
        .where(Promotion.model_id == model_id, Promotion.create_time <= moment)
        .order_by(Promotion.sequence.desc())
        .limit(1)
    )


async def promote(session: AsyncSession, version: Version, promotion: Promotion) -> Promotion:
    """Make `version` stable and its predecessor archived; the model's row is locked.

    `promotion` says why and by whom; the rest of it is filled in here.
    """
    former = await stable_of(session, version.model_id)
    if former is version:
        raise errors.failed_precondition(
            f"version {version.number} of {version.model.name} is stable already",
            reason="ALREADY_STABLE",
            version_id=version.id,
        )
    if former is not None:
        former.tag = ARCHIVED
        # The index allows one stable version at a time, so the old one goes first.
        await session.flush()
    version.tag = STABLE
    promotion.model_id = version.model_id
    promotion.version_id = version.id
    promotion.version_number = version.number
    promotion.previous_version_id = former.id if former else None
    session.add(promotion)
    await session.flush()
    _announce(session, version, promotion)
    return promotion


def _announce(session: AsyncSession, version: Version, promotion: Promotion) -> None:
    event = events_pb2.ModelPromoted(
        promotion_id=promotion.id,
        model_id=version.model_id,
        model_name=version.model.name,
        version_id=version.id,
        version_number=version.number,
        checkpoint_id=version.checkpoint_id,
        sha256=version.checkpoint.sha256,
        previous_version_id=promotion.previous_version_id or "",
        kind=model_pb2.PromotionKind.Name(promotion.kind),
        decision_id=promotion.decision_id or "",
        promote_time=promotion.create_time,
    )
    outbox.emit(session, event, about=version.model_id)


async def rollback_target(session: AsyncSession, model_id: str) -> Version:
    """Return the version that a rollback makes stable; raise NO_PREVIOUS_STABLE without one.

    It is the predecessor recorded when the present stable version was first promoted by a gate or
    an override, so that rolling back twice goes back twice instead of to and fro.
    """
    stable_id = await stable_id_of(session, model_id)
    previous_id = await session.scalar(
        select(Promotion.previous_version_id)
        .where(
            Promotion.model_id == model_id,
            Promotion.version_id == stable_id,
            Promotion.kind != ROLLBACK,
        )
        .order_by(Promotion.sequence.desc())
        .limit(1)
    )
    target = await session.get(Version, previous_id) if previous_id else None
    if target is None:
        raise errors.failed_precondition(
            f"model {model_id} has no earlier stable version",
            reason="NO_PREVIOUS_STABLE",
            model_id=model_id,
        )
    return target


_ASKED = func.any(bindparam("model_ids", type_=ARRAY(Uuid(as_uuid=False))))
_NEWEST = (
    select(Version.model_id, func.max(Version.number))
    .where(Version.model_id == _ASKED)
    .group_by(Version.model_id)
)
_HEADS = select(Version).where(
    Version.model_id == _ASKED,
    or_(Version.tag == STABLE, tuple_(Version.model_id, Version.number).in_(_NEWEST)),
)
_ALIASES = select(Alias).where(Alias.model_id == _ASKED).order_by(Alias.name)


async def describe(session: AsyncSession, models: Sequence[Model]) -> list[model_pb2.Model]:
    """Return the models with their stable and newest versions and aliases, in two queries."""
    # A model that never had a version has neither heads nor aliases.
    ids = {"model_ids": [model.id for model in models if model.version_count]}
    all_heads: Sequence[Version] = []
    all_aliases: Sequence[Alias] = []
    if ids["model_ids"]:
        all_heads = (await session.scalars(_HEADS, ids)).all()
        all_aliases = (await session.scalars(_ALIASES, ids)).all()
    return [
        model.to_proto(
            [head for head in all_heads if head.model_id == model.id],
            [alias for alias in all_aliases if alias.model_id == model.id],
        )
        for model in models
    ]


async def now(session: AsyncSession) -> datetime:
    """Return the database's clock."""
    return (await session.scalars(select(server_now()))).one()
