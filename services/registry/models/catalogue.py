"""Games and maps as this install knows them: a copy of `games.catalogue`, brought up to date."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from elodrome.registry.v1 import game_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import ARRAY, ForeignKey, Text, UniqueConstraint, func, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column, relationship

from games.catalogue import GAMES
from kit.db import Base, CreateTime, Id, Json, Reference, UpdateTime

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Game(Base):
    """A kind of game that agents learn."""

    __tablename__ = "games"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    description: Mapped[str]
    version: Mapped[str]
    config_schema: Mapped[Json]
    config_defaults: Mapped[Json]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    maps: Mapped[list[Map]] = relationship(
        back_populates="game", order_by="Map.name", lazy="selectin"
    )

    def to_proto(self, *, with_maps: bool) -> game_pb2.Game:
        """Return the game, with its maps where they are asked for."""
        return game_pb2.Game(
            id=self.id,
            name=self.name,
            title=self.title,
            description=self.description,
            version=self.version,
            config_schema=ParseDict(self.config_schema, Struct()),
            config_defaults=ParseDict(self.config_defaults, Struct()),
            maps=[row.to_proto() for row in self.maps] if with_maps else [],
            map_count=len(self.maps),
            create_time=self.create_time,
            update_time=self.update_time,
        )


class Map(Base):
    """One place to play."""

    __tablename__ = "maps"
    __table_args__ = (UniqueConstraint("game_id", "name"),)

    id: Mapped[Id]
    game_id: Mapped[Reference] = mapped_column(ForeignKey("games.id"))
    name: Mapped[str]
    title: Mapped[str]
    buttons: Mapped[list[str]] = mapped_column(ARRAY(Text))
    variables: Mapped[list[str]] = mapped_column(ARRAY(Text))
    timeout_tics: Mapped[int]
    living_reward: Mapped[float]
    death_penalty: Mapped[float]
    skill: Mapped[int]
    action_combinations: Mapped[str]
    config_defaults: Mapped[Json]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    game: Mapped[Game] = relationship(back_populates="maps", lazy="joined", innerjoin=True)

    def to_proto(self) -> game_pb2.Map:
        """Return the map."""
        return game_pb2.Map(
            id=self.id,
            game_id=self.game_id,
            game_name=self.game.name,
            name=self.name,
            title=self.title,
            buttons=self.buttons,
            variables=self.variables,
            timeout_tics=self.timeout_tics,
            living_reward=self.living_reward,
            death_penalty=self.death_penalty,
            skill=self.skill,
            action_combinations=self.action_combinations,
            config_defaults=ParseDict(self.config_defaults, Struct()),
            create_time=self.create_time,
            update_time=self.update_time,
        )


async def seed(session: AsyncSession) -> None:
    """Bring the tables to what this release ships; rows that are right already do not change."""
    for game in GAMES:
        row = asdict(game)
        maps = row.pop("maps")
        await _upsert(session, Game, row)
        for entry in maps:
            await _upsert(session, Map, {**entry, "game_id": game.id})


async def _upsert(session: AsyncSession, table: type[Base], row: dict[str, Any]) -> None:
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
    statement = insert(table).values(row)
    present = tuple_(*(getattr(table, name) for name in row))
    offered = tuple_(*(statement.excluded[name] for name in row))
    changes = {name: statement.excluded[name] for name in row if name != "id"}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={**changes, "update_time": func.clock_timestamp()},
            where=present.is_distinct_from(offered),
        )
    )
