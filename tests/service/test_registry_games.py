"""The catalogue of games and maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.registry.v1 import game_service_pb2
from sqlalchemy import text

from games import catalogue
from games.doom.scenarios import SCENARIOS
from services.registry.models.catalogue import seed

if TYPE_CHECKING:
    from tests.service.registry_service import Registry


async def test_the_catalogue_lists_every_game_and_map(registry: Registry) -> None:
    games = await registry.games.ListGames(
        game_service_pb2.ListGamesRequest(), metadata=registry.user
    )
    counts = {row.name: len(row.maps) for row in catalogue.GAMES}
    assert {game.name: game.map_count for game in games.items} == counts
    assert counts["doom"] == len(SCENARIOS)
    game = await registry.games.GetGame(
        game_service_pb2.GetGameRequest(id=catalogue.game_id("doom")), metadata=registry.user
    )
    assert game.config_defaults["frame_skip"] == 4
    assert {entry.name for entry in game.maps} == {row.name for row in catalogue.GAMES[0].maps}


async def test_a_map_can_be_found_by_its_name(registry: Registry) -> None:
    maps = await registry.games.ListMaps(
        game_service_pb2.ListMapsRequest(game_id=catalogue.game_id("doom"), name="basic"),
        metadata=registry.user,
    )
    assert [entry.id for entry in maps.items] == [catalogue.map_id("doom", "basic")]
    one = await registry.games.GetMap(
        game_service_pb2.GetMapRequest(id=maps.items[0].id), metadata=registry.user
    )
    assert one.action_combinations == "move_lr;attack"
    assert one == maps.items[0]


async def test_seeding_again_changes_only_what_differs(registry: Registry) -> None:
    sessions = registry.running.context.sessions
    async with sessions.begin() as session:
        await session.execute(text("UPDATE maps SET title = 'old' WHERE name = 'basic'"))
        before = dict((await session.execute(text("SELECT name, update_time FROM maps"))).all())
    async with sessions.begin() as session:
        await seed(session)
    async with sessions() as session:
        after = dict((await session.execute(text("SELECT name, update_time FROM maps"))).all())
        assert await session.scalar(text("SELECT title FROM maps WHERE name = 'basic'")) != "old"
    assert [name for name in after if after[name] != before[name]] == ["basic"]
