from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from games.catalogue import map_id
from games.doom.scenarios import SCENARIOS
from trainer.coherence import REWARD_SCALES
from trainer.config import ALGORITHMS, SCHEMA_PATH, Config, ConfigError, parse, schema_text
from trainer.rules import (
    Choice,
    Flag,
    Integer,
    Integers,
    Names,
    Number,
    Optional,
    Stages,
    Text,
    Weights,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTED = json.loads(SCHEMA_PATH.read_text())["properties"]
RULES = {entry.name: entry.metadata["rule"] for entry in fields(Config)}
ALL_MAPS = [map_id("doom", name) for name in SCENARIOS]


def owner(name: str) -> str:
    """An algorithm that has the field."""
    return next(entry.metadata["of"][0] for entry in fields(Config) if entry.name == name)


def refused(**mapping: object) -> ConfigError:
    with pytest.raises(ConfigError) as refusal:
        parse(mapping)
    assert str(refusal.value) == f"{refusal.value.field}: {refusal.value.rule}"
    return refusal.value


# -- every field has its range -----------------------------------------------------------------


NEVER = [None, "no such", object()]
END = {"scenario": "basic"}
BEYOND: dict[type, Callable[[Any], list[object]]] = {
    Integer: lambda rule: [
        *(rule.minimum - 1, rule.maximum + 1, rule.minimum + 0.5),
        *(True, "1", []),
    ],
    Number: lambda rule: [
        *(rule.minimum if rule.open_minimum else rule.minimum - 1e-6, rule.maximum * 1.01 + 1),
        *(float("nan"), float("inf"), True, "1"),
    ],
    Choice: lambda rule: ["", 1, rule.words[0].swapcase()],
    Flag: lambda _: [0, 1, "true"],
    Text: lambda rule: [5, "x" * (rule.max_length + 1)],
    Integers: lambda rule: [
        *([], [1] * (rule.most + 1), 16),
        *([16, wrong] for wrong in (rule.minimum - 1, "16", 1.5)),
    ],
    Names: lambda rule: [["no such"], [rule.names[0]] * 2, [*rule.names] * 2, rule.names[0]],
    Weights: lambda rule: [
        *([], {"no such": 1}),
        *({rule.names[0]: wrong} for wrong in (2 * rule.largest, "1")),
    ],
    Stages: lambda rule: [
        *([{"scenario": "no such"}], [END, END], [{**END, "until": 1}], [{**END, "bar": 1}]),
        *(["basic"], [{**END, "until": 1}] * rule.most + [END]),
    ],
}


def beyond(rule: Any) -> list[object]:
    """Values that a rule must refuse."""
    if isinstance(rule, Optional):
        return [value for value in beyond(rule.rule) if value is not None]
    return NEVER + BEYOND[type(rule)](rule)


def the_range(rule: Any) -> list[str]:
    """Words without which a refusal does not tell what is allowed."""
    if isinstance(rule, Integer | Number):
        return [f"{rule.minimum:d}" if isinstance(rule, Integer) else f"{rule.minimum:g}"]
    return list(rule.words) if isinstance(rule, Choice) else []


@pytest.mark.parametrize("name", RULES)
def test_a_value_beyond_its_range_is_refused_naming_field_and_range(name: str) -> None:
    for value in beyond(RULES[name]):
        error = refused(**{"algorithm": owner(name), name: value})
        assert error.field.split("[")[0].split(".")[0] == name, value
        if error.field == name:
            assert all(word in error.rule for word in the_range(RULES[name])), error


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("gamma", 1.5, "must be a number from 0 to 1"),
        ("history", 0, "must be a whole number from 1 to 16"),
        ("learning_rate", 0, "must be a number above 0, to 1"),
        ("channels", [16, 300], "must be a whole number from 1 to 256"),
        ("scenario", "no_such", f"must be one of {', '.join(SCENARIOS)}"),
        ("algorithm", "ppo", "must be one of PPO, DQN"),
        ("action_combinations", "fly;attack", "unknown action 'fly'"),
        ("screen", "123x45", "must be one of 160x120, 320x240, 400x225, 640x480, is 123x45"),
        ("render", "hud+laser", "must be none, or join hud+crosshair+weapon+"),
        ("label_maps", "0;4", "'0;4' must join kinds 0 to 3, each at most once, by ';' and '+'"),
        ("map_id", "7d444840-9dc0-11d1-b245-5ffdce74fad2", "is no map of doom"),
    ],
)
def test_a_refusal_reads_like_this(field: str, value: object, rule: str) -> None:
    error = refused(**{field: value})
    assert error.field.split("[")[0] == field
    assert error.rule.startswith(rule)


def test_a_button_that_the_scenario_lacks_is_refused() -> None:
    error = refused(scenario="basic", action_combinations="attack;move_fb")
    assert error.field == "action_combinations"
    assert error.rule == "basic has no move_fb; allowed: move_lr, attack"
    # What counts is the scenario that is played in the end.
    grammar = "move_fb;attack"
    maze = {"map_id": map_id("doom", "my_way_home"), "action_combinations": grammar}
    assert refused(**maze).rule.startswith("my_way_home has no move_fb")
    assert parse({"scenario": "deathmatch", "action_combinations": grammar})
    assert parse({"scenario": "basic", "action_combinations": "move_lr+attack"})


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    assert refused(learnig_rate=0.1).rule == "is not a field; did you mean learning_rate?"
    assert refused(zzz=1).rule == "is not a field"


# -- algorithms --------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_omitted_fields_take_the_documented_defaults_of_the_algorithm(algorithm: str) -> None:
    expected = {
        name: rule.get("x-defaults", {}).get(algorithm, rule["default"])
        for name, rule in DOCUMENTED.items()
        if algorithm in rule.get("x-algorithms", ALGORITHMS)
    }
    expected |= {"algorithm": algorithm, "reward_scale": REWARD_SCALES["basic"]}
    assert parse({"algorithm": algorithm}).to_mapping() == expected


def test_the_default_algorithm_is_ppo() -> None:
    assert parse({}) == parse({"algorithm": "PPO"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_setting_of_another_algorithm_is_refused(algorithm: str) -> None:
    known = parse({"algorithm": algorithm}).to_mapping()
    for name in RULES.keys() - known.keys():
        default = parse({"algorithm": owner(name)}).to_mapping()[name]
        error = refused(**{"algorithm": algorithm, name: default})
        assert error.field == name
        assert error.rule.startswith(f"is no setting of {algorithm}, only of ")
        assert owner(name) in error.rule
    assert RULES.keys() - known.keys()


# -- fields that have to fit each other --------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "field", "rule"),
    [
        ({"games": 3, "actors": 4}, "actors", "must not exceed games"),
        ({"screen": "160x120", "width": 161}, "screen", "does not cover a frame of 161x36"),
        ({"history": 8, "rollout_steps": 7}, "rollout_steps", "must not be less than history"),
        ({"algorithm": "DQN", "network_type": "lstm"}, "network_type", "must be feed_forward"),
        ({"algorithm": "DQN", "start_decay": 8000}, "stop_decay", "greater than start_decay"),
        ({"algorithm": "DQN", "learning_starts": 50_000}, "learning_starts", "from 56 to 9912"),
        (
            {"algorithm": "DQN", "games": 64, "n_step": 32, "replay_capacity": 200_000},
            "learning_starts",
            "from 2176 to",
        ),
        (
            {"algorithm": "DQN", "n_step": 32, "replay_capacity": 300},
            "replay_capacity",
            "least 408",
        ),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(
    mapping: dict[str, Any], field: str, rule: str
) -> None:
    error = refused(**mapping)
    assert error.field == field
    assert rule in error.rule


def test_the_map_decides_the_scenario() -> None:
    deathmatch = map_id("doom", "deathmatch")
    assert parse({"map_id": deathmatch}).scenario == "deathmatch"
    error = refused(map_id=deathmatch, scenario="basic")
    assert (error.field, error.rule) == ("scenario", "does not fit map_id, which is deathmatch")


def test_rewards_are_scaled_as_the_scenario_needs_it_unless_told_otherwise() -> None:
    assert parse({"scenario": "health_gathering"}).reward_scale == 0.01
    assert parse({"scenario": "defend_the_center"}).reward_scale == 1.0
    assert parse({"map_id": map_id("doom", "deadly_corridor")}).reward_scale == 0.01
    assert parse({"scenario": "basic", "reward_scale": 0.5}).reward_scale == 0.5


def test_a_scenario_that_is_known_to_need_it_shapes_its_reward_unless_the_run_does() -> None:
    assert parse({"scenario": "basic"}).reward_weights == {}
    shaped = parse({"scenario": "defend_the_center"})
    assert shaped.reward_weights == {"use_ammo": -0.4}
    assert parse(shaped.to_mapping()) == shaped
    given = {"use_ammo": 0.0}
    assert parse({"scenario": "defend_the_center", "reward_weights": given}).reward_weights == given


def test_total_steps_decides_the_iterations() -> None:
    assert parse({"total_steps": 1000, "games": 4, "rollout_steps": 100}).iterations == 3
    assert parse({"max_iterations": 7}).iterations == 7


# -- as text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"algorithm": "DQN", "persist_replay": False, "games": 4},
        {"scenario": "deathmatch", "reward_weights": {"kill": 5}, "seed": 2**30 - 1},
        {
            "map_id": ALL_MAPS[3],
            "network_type": "lstm",
            "channels": [8],
            "game_variables": ["HEALTH"],
        },
        {"total_steps": 5000, "reward_scale": 0.25, "gpu_id": 0, "precision": "bfloat16"},
    ],
)
def test_a_config_survives_its_own_mapping(mapping: dict[str, Any]) -> None:
    config = parse(mapping)
    assert parse(json.loads(json.dumps(config.to_mapping()))) == config


def test_whole_numbers_may_arrive_as_json_numbers() -> None:
    config = parse({"batch_size": 64.0, "gamma": 1})
    assert (config.batch_size, config.gamma) == (64, 1.0)
    assert isinstance(config.batch_size, int)


def test_the_schema_file_is_what_the_code_says() -> None:
    assert SCHEMA_PATH.read_text() == schema_text()
    assert DOCUMENTED.keys() == RULES.keys()


def test_checking_a_config_needs_no_numeric_library() -> None:
    code = "import sys, trainer.config; print({'numpy', 'torch', 'vizdoom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
