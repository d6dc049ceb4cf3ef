"""Which maps a run is trained and judged on; like `trainer.config` it needs nothing to be started.

Training plays several maps side by side, or one after the other: a curriculum. Checkpoints are
judged on test maps and on no others. What is seen is a matter of a config's options, the same on
all maps; what can be done is not, and has to be the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from games.catalogue import MAP_NAMES, map_id
from games.doom.actions import GrammarError, parse_actions
from games.doom.scenarios import SCENARIOS, check_actions
from trainer.rules import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.config import Config
    from trainer.rules import Stage


ALL_MAPS = tuple(name for names in MAP_NAMES.values() for name in names)
"""The names of the maps of all games."""


class MapPlan:
    """The maps of a training where it stands in its curriculum, which it never goes back in."""

    def __init__(self, config: Config) -> None:
        """Stand at the beginning."""
        self._config = config
        self.stage = 0

    @property
    def trained(self) -> tuple[str, ...]:
        """The maps to train on now; one with opponents of its own as `level` has it."""
        stages = self._config.curriculum
        return (level(stages[self.stage]),) if stages else _trained(self._config)

    @property
    def judged(self) -> tuple[str, ...]:
        """The maps to judge a checkpoint on now."""
        return self._config.test_maps or self.trained

    def advance(self, mean_return: float) -> bool:
        """Go on to the next stage if an evaluation has reached the end of this one."""
        stages = self._config.curriculum
        until = stages[self.stage].until if stages else None
        if until is None or mean_return < until:
            return False
        self.stage += 1
        return True


def level(stage: Stage) -> str:
    """Name the map of a stage, and its opponents: "deathmatch_shotgun bots=2 bot_skill=30"."""
    own = (f"{name}={value}" for name, value in stage.opponents.items())
    return " ".join((stage.scenario, *own))


def at_level(config: Config, name: str) -> tuple[str, Config]:
    """Answer the map that `level`, or the map alone, names; and the config with its opponents."""
    scenario, *own = name.split()
    opponents = {field: int(value) for field, _, value in (one.partition("=") for one in own)}
    return scenario, replace(config, **opponents)


def settled(config: Config, *, given: set[str]) -> Config:
    """Check all about maps, and take `scenario` from the other fields where it is not `given`.

    Raises ConfigError naming the field that does not fit.
    """
    config = _on_its_map(config, given=given)
    if config.maps and config.curriculum:
        raise ConfigError("curriculum", "must not come together with maps")
    for field, name in _named(config):
        if name not in MAP_NAMES[config.game]:
            known = ", ".join(MAP_NAMES[config.game])
            raise ConfigError(field, f"is no map of {config.game}; known: {known}")
    listed = tuple(stage.scenario for stage in config.curriculum) or config.maps
    if listed and "scenario" not in given and not config.map_id:
        config = replace(config, scenario=listed[0])
    if listed and config.scenario not in listed:
        field = "curriculum" if config.curriculum else "maps"
        raise ConfigError("scenario", f"must be one of {field}: {', '.join(listed)}")
    _check_counts(config)
    _check_opponents(config)
    if config.game == "doom":
        _check_actions(config)
    return config


def warnings(config: Mapping[str, Any]) -> list[str]:
    """Say what is odd about a config, though it can run; it is one that was checked, as JSON.

    A config from before a field was known does without it.
    """
    stages = [stage["scenario"] for stage in config.get("curriculum", ())]
    trained = stages or config.get("maps") or [config.get("scenario")]
    both = [name for name in config.get("test_maps", ()) if name in trained]
    if not both:
        return []
    names, are = ", ".join(both), "is" if len(both) == 1 else "are"
    return [f"test_maps: {names} {are} trained on too, so it does not judge what is new"]


def _trained(config: Config) -> tuple[str, ...]:
    return config.maps or (config.scenario,)


def _on_its_map(config: Config, *, given: set[str]) -> Config:
    """Take the scenario from the map, where one is named."""
    if not config.map_id:
        return config
    maps = {map_id(config.game, name): name for name in MAP_NAMES[config.game]}
    scenario = maps.get(config.map_id)
    if scenario is None:
        raise ConfigError("map_id", f"is no map of {config.game}")
    if "scenario" in given and config.scenario != scenario:
        raise ConfigError("scenario", f"does not fit map_id, which is {scenario}")
    return replace(config, scenario=scenario)


def _check_counts(config: Config) -> None:
    games = config.games // config.learners
    for field in ("maps", "test_maps"):
        if len(getattr(config, field)) > games:
            whose = "games of a learner" if config.learners > 1 else "games"
            raise ConfigError(field, f"must not be more than {whose}, which is {games}")
    if not config.curriculum or config.test_maps:
        return
    for field, unset in (("target_return", None), ("plateau_evaluations", 0)):
        if getattr(config, field) != unset:
            raise ConfigError(field, "needs test_maps, since a curriculum changes what is judged")


def _check_opponents(config: Config) -> None:
    """Refuse bots where they cannot play."""
    played = [("bots", name, config.bots) for name in config.test_maps]
    if not config.curriculum:
        played += [("bots", name, config.bots) for name in _trained(config)]
    for place, stage in enumerate(config.curriculum):
        for field in stage.opponents:
            if config.game != "doom" or config.self_play:
                what = "self-play" if config.self_play else config.game
                raise ConfigError(f"curriculum[{place}].{field}", f"is not to be had in {what}")
        bots = config.bots if stage.bots is None else stage.bots
        field = "bots" if stage.bots is None else f"curriculum[{place}].bots"
        played.append((field, stage.scenario, bots))
    for field, name, bots in played:
        if bots and not SCENARIOS[name].is_deathmatch:
            raise ConfigError(field, f"cannot play {name}, which is no deathmatch")


def _check_actions(config: Config) -> None:
    """Refuse maps on which a decision means different things."""
    first = config.scenario
    for field, name in _named(config):
        if config.self_play and SCENARIOS[name].players == 1:
            raise ConfigError("self_play", f"cannot play {name}, which is for one player")
        own = config.action_combinations or SCENARIOS[name].action_combinations
        try:
            check_actions(SCENARIOS[name], own)
        except GrammarError as error:
            raise ConfigError("action_combinations", str(error)) from error
        common = config.action_combinations or SCENARIOS[first].action_combinations
        if parse_actions(own) != parse_actions(common):
            raise ConfigError(
                field,
                f"{name} has the actions {own}, but {first} has {common}; "
                "action_combinations can name what both have",
            )


def _named(config: Config) -> Sequence[tuple[str, str]]:
    """List every map that is named, and by which field."""
    return [
        ("scenario", config.scenario),
        *((f"maps[{place}]", name) for place, name in enumerate(config.maps)),
        *((f"test_maps[{place}]", name) for place, name in enumerate(config.test_maps)),
        *(
            (f"curriculum[{place}].scenario", stage.scenario)
            for place, stage in enumerate(config.curriculum)
        ),
    ]
