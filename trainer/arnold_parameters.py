"""What one of Arnold's networks is declared by, and the declarations of the five published ones.

Names, defaults and meanings are those of the command line of Arnold (Lample & Chaplot, 2017;
github.com/glample/Arnold: src/args.py, src/model, src/doom), so its commands can be copied. What
only its training reads has no place here, `dropout` apart, which its layers are built with.
`remember` is always on and the screen buffer always in use, as in all of its published agents.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from games.doom.actions import GrammarError, parse_actions
from games.doom.label_maps import parse_mapping
from games.doom.observation import ObservationOptions
from games.doom.scenarios import SCENARIOS
from trainer.rules import (
    Choice,
    ConfigError,
    Flag,
    Integer,
    Integers,
    Number,
    Rule,
    Text,
    parse_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Setting = TypeVar("Setting")

GAME_FEATURES = ("target", "enemy", "health", "weapon", "ammo")
# The engine variable behind each name, and how many values it is embedded for, from 0 upwards.
GAME_VARIABLES = MappingProxyType(
    {"health": ("HEALTH", 101), "sel_ammo": ("SELECTED_WEAPON_AMMO", 301)}
)
_OF_EACH_VARIABLE = ("variable_dim", "bucket_size")
# Arnold lets the engine draw on this screen and averages it down (src/doom/game.py, utils.py).
SCREEN = "400x225"


def _setting(rule: Rule, default: Setting, meaning: str) -> Setting:
    return field(default=default, metadata={"rule": rule, "meaning": meaning})


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _check_features(text: str) -> None:
    _check_names(text, GAME_FEATURES)


def _check_variables(text: str) -> None:
    _check_names(text, tuple(GAME_VARIABLES))


def _check_names(text: str, known: tuple[str, ...]) -> None:
    names = _names(text)
    if not set(names) <= set(known) or len(set(names)) != len(names):
        raise ValueError(f"must join some of {','.join(known)} by commas, each at most once")


class Embedding(NamedTuple):
    """How one game variable is embedded: `buckets` rows of `width` numbers.

    A row stands for `bucket_size` values next to each other; `variable` is the engine's name.
    """

    name: str
    variable: str
    values: int
    bucket_size: int
    width: int

    @property
    def buckets(self) -> int:
        """How many rows there are."""
        return -(-self.values // self.bucket_size)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """A checked declaration; build one with `parse`."""

    network_type: str = _setting(Choice(("dqn_ff", "dqn_rnn")), "dqn_ff", "Kind of network.")
    recurrence: str = _setting(
        Choice(("", "rnn", "gru", "lstm")), "", "Recurrent layer of a dqn_rnn; empty for a dqn_ff."
    )
    n_rec_layers: int = _setting(Integer(1, 8), 1, "Recurrent layers, one upon the other.")
    hidden_dim: int = _setting(Integer(1, 4096), 512, "Width of the hidden layer.")
    use_bn: bool = _setting(
        Flag(), default=False, meaning="Batch normalisation behind convolutions."
    )
    dueling_network: bool = _setting(Flag(), default=False, meaning="Value and advantages apart.")
    dropout: float = _setting(Number(0, 0.99), 0.0, "Share left out in training; nothing in play.")
    game_variables: str = _setting(
        Text(100, _check_variables), "health,sel_ammo", "Game variables it is told."
    )
    variable_dim: tuple[int, ...] = _setting(
        Integers(1, 1024, most=len(GAME_VARIABLES)),
        (32,),
        "Width of each game variable's embedding; one number is for all.",
    )
    bucket_size: tuple[int, ...] = _setting(
        Integers(1, 301, most=len(GAME_VARIABLES)),
        (1,),
        "Values of each game variable that share a row; one number is for all.",
    )
    game_features: str = _setting(
        Text(100, _check_features), "", "Features it tells of the screen."
    )

    scenario: str = _setting(Choice(tuple(SCENARIOS)), "deathmatch", "Stock scenario it plays.")
    action_combinations: str = _setting(
        Text(200, parse_actions), "move_fb+turn_lr+move_lr+attack", "Action grammar."
    )
    speed: str = _setting(Choice(("on", "off")), "off", "Whether it always runs.")
    crouch: str = _setting(Choice(("on", "off")), "off", "Whether it always crouches.")
    frame_skip: int = _setting(Integer(1, 35), 4, "Game tics (35 a second) a decision is held.")
    height: int = _setting(Integer(36, 480), 60, "Height of a frame, in pixels.")
    width: int = _setting(Integer(36, 640), 108, "Width of a frame, in pixels.")
    hist_size: int = _setting(Integer(1, 16), 4, "Frames a dqn_ff sees; a dqn_rnn sees the newest.")
    gray: bool = _setting(Flag(), default=False, meaning="One channel for the screen, not three.")
    use_depth_buffer: bool = _setting(Flag(), default=False, meaning="See the depth of a pixel.")
    labels_mapping: str = _setting(
        Text(20, parse_mapping), "", "Feature maps of objects, as in games.doom.label_maps."
    )
    render_hud: bool = _setting(Flag(), default=False, meaning="See the status bar.")
    render_crosshair: bool = _setting(Flag(), default=True, meaning="See the crosshair.")
    render_weapon: bool = _setting(Flag(), default=True, meaning="See the weapon.")

    @property
    def is_recurrent(self) -> bool:
        """Whether it remembers."""
        return self.network_type == "dqn_rnn"

    @property
    def grammar(self) -> str:
        """Its actions in the grammar of games.doom.actions, buttons that it never lets go last."""
        held = [name for name in ("speed", "crouch") if getattr(self, name) == "on"]
        return ";".join([self.action_combinations, *(f"{name}!" for name in held)])

    @property
    def action_count(self) -> int:
        """How many actions it chooses from."""
        return len(parse_actions(self.grammar))

    @property
    def feature_count(self) -> int:
        """How many features it tells."""
        return len(_names(self.game_features))

    @property
    def embeddings(self) -> tuple[Embedding, ...]:
        """How the game variables are embedded, in the order in which they are put together."""
        names = _names(self.game_variables)
        sizes = _for_each(self.bucket_size, len(names))
        widths = _for_each(self.variable_dim, len(names))
        return tuple(
            Embedding(name, *GAME_VARIABLES[name], size, width)
            for name, size, width in zip(names, sizes, widths, strict=True)
        )

    @property
    def observation(self) -> ObservationOptions:
        """What it has to be shown."""
        groups = parse_mapping(self.labels_mapping)
        drawn = [name for name in ("hud", "crosshair", "weapon") if getattr(self, f"render_{name}")]
        return ObservationOptions(
            height=self.height,
            width=self.width,
            color="gray" if self.gray else "rgb",
            depth=self.use_depth_buffer,
            # Arnold draws four maps in the order of the kinds, whatever order was declared.
            label_maps="0;1;2;3" if len(groups) == len("0123") else self.labels_mapping,
            history=1 if self.is_recurrent else self.hist_size,
            frame_skip=self.frame_skip,
            screen=SCREEN,
            render="+".join(drawn) or "none",
        )

    def to_mapping(self) -> dict[str, Any]:
        """Every parameter by name, ready for JSON; `parse` gives the same Parameters back."""
        return asdict(self)


def _for_each(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    return numbers * count if len(numbers) == 1 else numbers


def parse(mapping: Mapping[str, object]) -> Parameters:
    """Check a declaration and fill in Arnold's defaults; a number may stand for a list of one.

    Raises ConfigError naming the parameter and its range.
    """
    rules = {entry.name: entry.metadata["rule"] for entry in fields(Parameters)}
    lists = {
        name: [value]
        for name, value in mapping.items()
        if name in _OF_EACH_VARIABLE and isinstance(value, int)
    }
    parameters = Parameters(**parse_fields({**mapping, **lists}, rules))
    if parameters.is_recurrent != bool(parameters.recurrence):
        wanted = "rnn, gru or lstm with" if parameters.is_recurrent else "empty without"
        raise ConfigError("recurrence", f"must be {wanted} network_type dqn_rnn")
    try:
        parse_actions(parameters.grammar)
    except GrammarError as error:
        raise ConfigError("action_combinations", f"{error}, or speed or crouch does") from error
    names = _names(parameters.game_variables)
    for name in _OF_EACH_VARIABLE:
        if len(getattr(parameters, name)) not in {1, len(names)}:
            raise ConfigError(name, f"must be one number, or one for each of {','.join(names)}")
    return parameters


# The commands that play them stand in run.sh of the repository; what those leave out takes its
# default. Health gathering draws neither crosshair nor weapon and tells of health alone
# (src/doom/scenarios/health_gathering.py). The maps of the last three come with Arnold; their
# agents play the stock deathmatch here.
_DEATHMATCH = {
    "network_type": "dqn_rnn",
    "recurrence": "lstm",
    "n_rec_layers": 1,
    "game_features": "target,enemy",
    "bucket_size": [10, 1],
    "dropout": 0.5,
    "speed": "on",
    "crouch": "off",
    "scenario": "deathmatch",
}
PRESETS: Mapping[str, Parameters] = MappingProxyType(
    {
        "defend_the_center": parse(
            {
                "scenario": "defend_the_center",
                "frame_skip": 2,
                "action_combinations": "turn_lr+attack",
            }
        ),
        "health_gathering": parse(
            {
                "scenario": "health_gathering_supreme",
                "frame_skip": 4,
                "action_combinations": "move_fb;turn_lr",
                "game_variables": "health",
                "render_crosshair": False,
                "render_weapon": False,
            }
        ),
        "vizdoom_2017_track1": parse(
            {
                **_DEATHMATCH,
                "frame_skip": 3,
                "action_combinations": "attack+move_lr;turn_lr;move_fb",
                "hist_size": 4,
            }
        ),
        "vizdoom_2017_track2": parse(
            {
                **_DEATHMATCH,
                "frame_skip": 4,
                "action_combinations": "move_fb+move_lr;turn_lr;attack",
                "hist_size": 4,
            }
        ),
        "deathmatch_shotgun": parse(
            {
                **_DEATHMATCH,
                "frame_skip": 3,
                "action_combinations": "move_fb+move_lr;turn_lr;attack",
                "hist_size": 6,
                "labels_mapping": "0",
            }
        ),
    }
)
"""Parameters of the five published networks, by the name of their file."""
