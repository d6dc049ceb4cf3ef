"""The stock scenarios, one row each, with the facts their configuration files document."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Scenario:
    """One stock scenario.

    `timeout_tics` is 0 where the scenario has none (35 tics are a second). `living_reward` is per
    tic; `death_penalty` is subtracted once. `action_combinations` is the action set used unless a
    run names its own; it presses documented buttons only.
    """

    name: str
    title: str
    buttons: tuple[str, ...]
    variables: tuple[str, ...]
    timeout_tics: int
    living_reward: float
    death_penalty: float
    skill: int
    action_combinations: str


_LEFT_RIGHT_ATTACK = ("MOVE_LEFT", "MOVE_RIGHT", "ATTACK")
_TURN_ATTACK = ("TURN_LEFT", "TURN_RIGHT", "ATTACK")
_TURN_FORWARD = ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD")
_CORRIDOR = (*_LEFT_RIGHT_ATTACK, "MOVE_FORWARD", "MOVE_BACKWARD", "TURN_LEFT", "TURN_RIGHT")
_DEATHMATCH = (
    *("ATTACK", "SPEED", "STRAFE", "MOVE_RIGHT", "MOVE_LEFT", "MOVE_BACKWARD", "MOVE_FORWARD"),
    *("TURN_RIGHT", "TURN_LEFT", "SELECT_WEAPON1", "SELECT_WEAPON2", "SELECT_WEAPON3"),
    *("SELECT_WEAPON4", "SELECT_WEAPON5", "SELECT_WEAPON6", "SELECT_NEXT_WEAPON"),
    *("SELECT_PREV_WEAPON", "LOOK_UP_DOWN_DELTA", "TURN_LEFT_RIGHT_DELTA", "MOVE_LEFT_RIGHT_DELTA"),
)
_DEATHMATCH_VARIABLES = (
    *("KILLCOUNT", "HEALTH", "ARMOR", "SELECTED_WEAPON", "SELECTED_WEAPON_AMMO"),
)

_ROWS = (
    Scenario(
        "basic", "Shoot the monster across the room",
        _LEFT_RIGHT_ATTACK, ("AMMO2",), 300, -1.0, 0.0, 5, "move_lr;attack",
    ),
    Scenario(
        "simpler_basic", "Shoot the monster, plain textures",
        _LEFT_RIGHT_ATTACK, (), 300, -1.0, 0.0, 3, "move_lr;attack",
    ),
    Scenario(
        "rocket_basic", "Shoot the monster with a slow rocket",
        _LEFT_RIGHT_ATTACK, (), 300, -1.0, 0.0, 3, "move_lr;attack",
    ),
    Scenario(
        "defend_the_center", "Kill what comes from all sides with 26 bullets",
        _TURN_ATTACK, ("AMMO2", "HEALTH"), 2100, 0.0, 1.0, 3, "turn_lr;attack",
    ),
    Scenario(
        "defend_the_line", "Kill what comes from across the room",
        _TURN_ATTACK, ("AMMO2", "HEALTH"), 0, 0.0, 1.0, 3, "turn_lr;attack",
    ),
    Scenario(
        "health_gathering", "Stay alive on an acid floor by finding medikits",
        _TURN_FORWARD, ("HEALTH",), 2100, 1.0, 100.0, 3, "turn_lr;move_f",
    ),
    Scenario(
        "health_gathering_supreme", "Find medikits in a maze and leave the poison",
        _TURN_FORWARD, ("HEALTH",), 2100, 1.0, 100.0, 3, "turn_lr;move_f",
    ),
    Scenario(
        "my_way_home", "Find the vest in a maze of rooms",
        ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT"),
        (), 2100, -0.0001, 0.0, 5, "turn_lr+move_lr;move_f",
    ),
    Scenario(
        "predict_position", "Hit a moving target with one slow rocket",
        _TURN_ATTACK, (), 300, -0.001, 0.0, 1, "turn_lr;attack",
    ),
    Scenario(
        "take_cover", "Dodge fireballs as long as possible",
        ("MOVE_LEFT", "MOVE_RIGHT"), ("HEALTH",), 0, 1.0, 0.0, 4, "move_lr",
    ),
    Scenario(
        "deadly_corridor", "Reach the vest at the end of a guarded corridor",
        _CORRIDOR, ("HEALTH",), 2100, 0.0, 100.0, 5, "move_fb+move_lr;turn_lr;attack",
    ),
    Scenario(
        "deathmatch", "Kill monsters in an arena full of weapons",
        _DEATHMATCH, _DEATHMATCH_VARIABLES, 4200, 0.0, 0.0, 3, "move_fb;move_lr;turn_lr;attack",
    ),
)  # fmt: skip

SCENARIOS: MappingProxyType[str, Scenario] = MappingProxyType({row.name: row for row in _ROWS})
