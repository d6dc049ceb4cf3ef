"""The stock scenarios, one row each, with the facts their configuration files document."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from games.doom.actions import BUTTONS_BY_CATEGORY, GrammarError, parse_groups


@dataclass(frozen=True)
class Scenario:
    """One scenario: a configuration file that comes with the engine, and what to make of it.

    `timeout_tics` is 0 where the scenario has none (35 tics are a second). `living_reward` is per
    tic; `death_penalty` is subtracted once. `action_combinations` is the action set used unless a
    run names its own; it presses documented buttons only.

    `config` is the name of the file, by default the scenario's own. Where `is_deathmatch`, players
    begin at the map's deathmatch starts and a frag is a point. `players` says how many it takes to
    make sense. A `loadout`, items and their amounts, is all that a life begins with.
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
    config: str = ""
    map_name: str = "map01"
    is_deathmatch: bool = False
    players: int = 1
    loadout: tuple[tuple[str, int], ...] = ()

    @property
    def config_name(self) -> str:
        """Name of the configuration file, without its suffix."""
        return self.config or self.name


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
_CIG = (
    *("ATTACK", "USE", "TURN_LEFT", "TURN_RIGHT", "MOVE_RIGHT", "MOVE_LEFT", "MOVE_FORWARD"),
    *("MOVE_BACKWARD", "TURN_LEFT_RIGHT_DELTA", "LOOK_UP_DOWN_DELTA"),
)
_MULTI = (
    *("TURN_LEFT", "TURN_RIGHT", "ATTACK", "MOVE_RIGHT", "MOVE_LEFT", "MOVE_FORWARD"),
    *("MOVE_BACKWARD", "TURN_LEFT_RIGHT_DELTA", "LOOK_UP_DOWN_DELTA"),
)
_FIGHT = "move_fb;move_lr;turn_lr;attack"

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
        _TURN_ATTACK, ("AMMO2", "HEALTH"), 2100, 0.0, 1.0, 3, "turn_lr+attack",
    ),
    Scenario(
        "defend_the_line", "Kill what comes from across the room",
        _TURN_ATTACK, ("AMMO2", "HEALTH"), 0, 0.0, 1.0, 3, "turn_lr+attack",
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
        _DEATHMATCH, _DEATHMATCH_VARIABLES, 4200, 0.0, 0.0, 3, _FIGHT,
    ),
    Scenario(
        "full_deathmatch", "Fight other players over every weapon and item",
        _CIG, (), 25200, 0.0, 0.0, 3, _FIGHT, config="cig", map_name="map02", is_deathmatch=True,
    ),
    Scenario(
        "deathmatch_rockets", "Fight other players with rockets",
        _CIG, (), 25200, 0.0, 0.0, 3, _FIGHT, config="cig", is_deathmatch=True,
    ),
    Scenario(
        "deathmatch_shotgun", "Fight other players with a shotgun",
        _CIG, (), 25200, 0.0, 0.0, 3, _FIGHT, config="cig", is_deathmatch=True,
        loadout=(("Shotgun", 1), ("Shell", 50)),
    ),
    Scenario(
        "multi_deathmatch", "Be the first of two to hit the other",
        _MULTI, ("HEALTH", "AMMO3"), 0, 0.0, 1.0, 3, _FIGHT, config="multi", players=2,
    ),
    Scenario(
        "self_play", "Duel with rockets across a slime pit",
        _LEFT_RIGHT_ATTACK, (), 0, 0.0, 0.0, 5, "move_lr;attack",
        config="multi_duel", is_deathmatch=True, players=2,
    ),
)  # fmt: skip

SCENARIOS: MappingProxyType[str, Scenario] = MappingProxyType({row.name: row for row in _ROWS})


def check_actions(scenario: Scenario, grammar: str) -> None:
    """Refuse an action grammar that presses what the scenario does not document.

    Raises GrammarError naming the group and those allowed, or what `parse_actions` raises.
    """
    allowed = [
        name
        for name, buttons in BUTTONS_BY_CATEGORY.items()
        if set(buttons) <= set(scenario.buttons)
    ]
    groups, held = parse_groups(grammar)
    for name in (*(name for group in groups for name in group), *held):
        if name not in allowed:
            raise GrammarError(f"{scenario.name} has no {name}; allowed: {', '.join(allowed)}")
