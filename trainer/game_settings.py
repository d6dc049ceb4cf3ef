"""What a training run may ask of its game: what is played, what players see of it, what it pays."""

from __future__ import annotations

from dataclasses import dataclass, field

from games.catalogue import MAP_NAMES
from games.doom.actions import parse_actions
from games.doom.label_maps import parse_mapping
from games.doom.observation import DRAWABLE, SCREENS, check_render, check_screen
from games.doom.rewards import REWARD_KINDS
from games.doom.variables import VARIABLES
from trainer.fields import metadata
from trainer.fields import setting as _setting
from trainer.maps import ALL_MAPS
from trainer.rules import (
    BOT_RULES,
    Choice,
    Flag,
    Integer,
    Names,
    Number,
    Stage,
    Stages,
    Text,
    Weights,
    check_uuid,
)


def _check_grammar(grammar: str) -> None:
    if grammar:
        parse_actions(grammar)


@dataclass(frozen=True, kw_only=True)
class GameSettings:
    """The part of a configuration that is about the game; some fields belong to one game only."""

    game: str = _setting(
        Choice(tuple(MAP_NAMES)), "doom", "Game to learn; some settings belong to one of them only."
    )
    scenario: str = _setting(
        Choice(ALL_MAPS), "basic", "Map of the game, by its name.", catch="board"
    )
    map_id: str = _setting(
        Text(36, check_uuid), "", "Catalogue id of the map; empty takes the scenario's own."
    )
    maps: tuple[str, ...] = _setting(
        Names(ALL_MAPS, most=16),
        (),
        "Maps to train on side by side, as evenly as games can share them; empty is `scenario`.",
    )
    test_maps: tuple[str, ...] = _setting(
        Names(ALL_MAPS, most=16),
        (),
        "Maps to judge checkpoints on; empty takes those that are trained on.",
    )
    curriculum: tuple[Stage, ...] = _setting(
        Stages(ALL_MAPS, most=16),
        (),
        "Maps to train on one after the other, each until eval_return at a checkpoint is `until`. "
        "A stage may have `bots`, `bot_skill` and `bot_health` of its own. It is judged as it is "
        "played, but on test_maps, where there are any, against the bots of the run.",
    )
    action_combinations: str = _setting(
        Text(200, _check_grammar),
        "",
        "Action grammar: ';' joins groups pressed together, '+' joins exclusive choices, a group "
        "ending in '!' is held with every action; empty takes the scenario's own.",
    )

    height: int = _setting(Integer(36, 480), 36, "Height of an observed frame, in pixels.")
    width: int = _setting(Integer(36, 640), 64, "Width of an observed frame, in pixels.")
    color: str = _setting(Choice(("gray", "rgb")), "rgb", "Channels of the screen: 1 or 3.")
    depth: bool = _setting(Flag(), default=False, meaning="Observe the depth of every pixel.")
    labels: bool = _setting(Flag(), default=False, meaning="Observe the object in every pixel.")
    automap: bool = _setting(Flag(), default=False, meaning="Observe the map drawn so far.")
    label_maps: str = _setting(
        Text(7, parse_mapping),
        "",
        "Maps, as '0;1+3', of enemies 0, health 1, weapons 2, ammunition 3, in place of labels.",
    )
    screen: str = _setting(
        Text(7, check_screen),
        "",
        f"Screen that is averaged down, of {', '.join(SCREENS)}; empty samples the smallest.",
    )
    render: str = _setting(
        Text(100, check_render),
        "",
        f"What is drawn: none, or {'+'.join(DRAWABLE)}; empty: as usual.",
    )
    history: int = _setting(Integer(1, 16), 1, "Frames an observation holds.")
    frame_skip: int = _setting(
        Integer(1, 35), 4, "Game tics (35 a second) a decision is held.", catch=1
    )
    episode_tics: int = _setting(
        Integer(0, 126_000),
        0,
        "Game tics (35 a second) after which an episode ends; 0 takes the scenario's own clock.",
    )
    bots: int = _setting(
        BOT_RULES["bots"], 0, "Built-in opponents that join; the scenario must be a deathmatch."
    )
    bot_skill: int = _setting(
        BOT_RULES["bot_skill"], 50, "How well bots aim, turn, react and look after themselves."
    )
    bot_health: int = _setting(
        BOT_RULES["bot_health"],
        100,
        "Health with which each life of a bot begins; players have 100.",
    )
    randomise_textures: bool = _setting(
        Flag(), default=False, meaning="Exchange the textures of a map, but never when judging."
    )
    randomise_health: bool = _setting(
        Flag(), default=False, meaning="Vary the monsters' health, but never when judging."
    )
    randomise_spawn: bool = _setting(
        Flag(), default=False, meaning="Turn players to any side, but never when judging."
    )
    reward_weights: dict[str, float] = field(
        default_factory=dict,
        metadata=metadata(
            Weights(REWARD_KINDS, 1e6),
            "Points added to the reward, not to the score, per event of a kind; without any, those "
            "that the scenario is known to be learned well with.",
        ),
    )

    game_variables: tuple[str, ...] = _setting(
        Names(VARIABLES, most=16), (), "Variables of the game that the network sees as numbers."
    )
    game_features: bool = _setting(
        Flag(), default=False, meaning="Train the network to tell the game features too."
    )
    feature_weight: float = _setting(
        Number(0, 1e6), 1.0, "Weight of the loss of game features beside the algorithm's own."
    )

    self_play: bool = _setting(
        Flag(),
        default=False,
        meaning="Play matches against earlier checkpoints of this very run.",
    )
    opponent_pool: int = _setting(
        Integer(1, 64), 10, "Checkpoints, the latest ones, that opponents are drawn from."
    )
    opponent_weights: dict[str, float] = field(
        default_factory=lambda: {"latest": 0.5, "past": 0.5},
        metadata=metadata(
            Weights(("latest", "past", "oldest"), 1e6, smallest=0.0),
            "How likely an opponent is the latest or oldest of the pool, or any: past.",
        ),
    )
