"""Every game and map that comes with an install, under ids that are the same everywhere."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from games.doom.observation import COLORS, LIMITS, SCREENS
from games.doom.scenarios import SCENARIOS

if TYPE_CHECKING:
    from games.doom.scenarios import Scenario

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "elodrome")


@dataclass(frozen=True)
class CatalogueMap:
    """One map of a game; `config_defaults` holds what differs from the game's own defaults."""

    id: str
    name: str
    title: str
    buttons: tuple[str, ...]
    variables: tuple[str, ...]
    timeout_tics: int
    living_reward: float
    death_penalty: float
    skill: int
    action_combinations: str
    config_defaults: dict[str, Any]


@dataclass(frozen=True)
class CatalogueGame:
    """One game; `config_schema` is JSON Schema (2020-12) of its settings in a run config."""

    id: str
    name: str
    title: str
    description: str
    version: str
    config_schema: dict[str, Any]
    config_defaults: dict[str, Any]
    maps: tuple[CatalogueMap, ...]


def game_id(game: str) -> str:
    """Return the id that the game of this name has in every install."""
    return str(uuid.uuid5(NAMESPACE, game))


def map_id(game: str, name: str) -> str:
    """Return the id that the game's map of this name has in every install."""
    return str(uuid.uuid5(NAMESPACE, f"{game}/{name}"))


def _setting(kind: str, default: object, meaning: str, **rules: object) -> dict[str, Any]:
    return {"type": kind, "default": default, "description": meaning, **rules}


def _whole(name: str, default: int, meaning: str) -> dict[str, Any]:
    least, most = LIMITS[name]
    return _setting("integer", default, meaning, minimum=least, maximum=most)


_DOOM_SETTINGS = {
    "scenario": _setting("string", "basic", "Scenario to play.", enum=list(SCENARIOS)),
    "action_combinations": _setting(
        "string", "", "Action grammar; empty takes the scenario's own.", maxLength=200
    ),
    "frame_skip": _whole("frame_skip", 4, "Game tics (35 a second) a decision is held."),
    "history": _whole("history", 1, "Frames an observation holds."),
    "height": _whole("height", 36, "Height of a frame in pixels."),
    "width": _whole("width", 64, "Width of a frame in pixels."),
    "color": _setting("string", "rgb", "Channels of the screen: 1 or 3.", enum=list(COLORS)),
    "depth": _setting("boolean", False, "Observe the depth of every pixel."),
    "labels": _setting("boolean", False, "Observe the object in every pixel."),
    "automap": _setting("boolean", False, "Observe the map drawn so far."),
    "label_maps": _setting(
        "string", "", "Observe where kinds of things are, in place of labels.", maxLength=7
    ),
    "screen": _setting(
        "string", "", f"Screen that is averaged down, of {', '.join(SCREENS)}.", maxLength=7
    ),
    "render": _setting("string", "", "What is drawn; empty is as usual.", maxLength=100),
}


_CATCH_SETTINGS = {
    "history": _whole("history", 1, "Frames an observation holds."),
}


def _schema(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": settings,
        "additionalProperties": False,
    }


def _doom_map(scenario: Scenario) -> CatalogueMap:
    return CatalogueMap(
        id=map_id("doom", scenario.name),
        name=scenario.name,
        title=scenario.title,
        buttons=scenario.buttons,
        variables=scenario.variables,
        timeout_tics=scenario.timeout_tics,
        living_reward=scenario.living_reward,
        death_penalty=scenario.death_penalty,
        skill=scenario.skill,
        action_combinations=scenario.action_combinations,
        config_defaults={
            "scenario": scenario.name,
            "action_combinations": scenario.action_combinations,
        },
    )


GAMES = (
    CatalogueGame(
        id=game_id("doom"),
        name="doom",
        title="Doom",
        description="First-person shooting and navigation, seen through the screen of ViZDoom.",
        version="1.0.0",
        config_schema=_schema(_DOOM_SETTINGS),
        config_defaults={name: rule["default"] for name, rule in _DOOM_SETTINGS.items()},
        maps=tuple(_doom_map(scenario) for scenario in SCENARIOS.values()),
    ),
    CatalogueGame(
        id=game_id("catch"),
        name="catch",
        title="Catch",
        description="A ball falls and a paddle has to be under it; learned within seconds.",
        version="1.0.0",
        config_schema=_schema(_CATCH_SETTINGS),
        config_defaults={name: rule["default"] for name, rule in _CATCH_SETTINGS.items()},
        maps=(
            CatalogueMap(
                id=map_id("catch", "board"),
                name="board",
                title="Twelve cells by twelve",
                buttons=("LEFT", "STAY", "RIGHT"),
                variables=("BALL_X", "BALL_Y", "PADDLE_X"),
                timeout_tics=0,
                living_reward=0.0,
                death_penalty=0.0,
                skill=0,
                action_combinations="",
                config_defaults={},
            ),
        ),
    ),
)

MAP_NAMES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {game.name: tuple(one.name for one in game.maps) for game in GAMES}
)
"""The names of the maps of every game, by its own name."""
