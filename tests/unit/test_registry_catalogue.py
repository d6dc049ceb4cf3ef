"""The catalogue: stable ids, and settings that a trainer accepts."""

from __future__ import annotations

import json
import uuid

import pytest

from games import catalogue
from games.catch import CatchGame
from games.doom.scenarios import SCENARIOS
from trainer import config

DOOM, CATCH = catalogue.GAMES


def test_ids_are_the_same_in_every_install() -> None:
    assert catalogue.game_id("doom") == "bca31281-00fc-59f2-a5f5-83abee7d71ac"
    assert catalogue.map_id("doom", "basic") == "194c456c-f7de-5a87-85a9-fb77ece4063b"


def test_ids_are_distinct_uuids() -> None:
    ids = [game.id for game in catalogue.GAMES]
    ids += [entry.id for game in catalogue.GAMES for entry in game.maps]
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(entry)) == entry for entry in ids)


def test_every_stock_scenario_is_a_map() -> None:
    assert [entry.name for entry in DOOM.maps] == list(SCENARIOS)


def test_catch_has_one_map_and_says_what_the_game_says() -> None:
    (board,) = CATCH.maps
    game = CatchGame(**CATCH.config_defaults)
    assert len(board.buttons) == game.action_count
    assert set(board.variables) == set(game.variables)


@pytest.mark.parametrize("entry", DOOM.maps, ids=lambda entry: entry.name)
def test_a_trainer_accepts_the_defaults_of_every_map(entry: catalogue.CatalogueMap) -> None:
    defaults = DOOM.config_defaults | entry.config_defaults
    assert config.parse(defaults).scenario == entry.name


@pytest.mark.parametrize("name", DOOM.config_schema["properties"])
def test_the_schema_says_what_the_trainer_checks(name: str) -> None:
    trainer_schema = json.loads(config.SCHEMA_PATH.read_text())["properties"][name]
    ours = DOOM.config_schema["properties"][name]
    if name == "scenario":
        # The trainer's rule knows the maps of all games, and their game refuses the others.
        trainer_schema["enum"] = [one for one in trainer_schema["enum"] if one in ours["enum"]]
    rules = ("type", "enum", "minimum", "maximum", "default")
    assert {key: ours.get(key) for key in rules} == {key: trainer_schema.get(key) for key in rules}
