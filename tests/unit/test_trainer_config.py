from __future__ import annotations

import json
import subprocess
import sys

import pytest

from games.catalogue import map_id
from trainer.config import SCHEMA_PATH, ConfigError, parse, schema_text
from trainer.dqn import EVALUATION_SEEDS, episode_seed


def test_omitted_fields_take_the_documented_defaults() -> None:
    documented = json.loads(SCHEMA_PATH.read_text())["properties"]
    assert parse({}).to_mapping() == {name: rule["default"] for name, rule in documented.items()}


def test_schema_file_is_what_the_code_says() -> None:
    assert SCHEMA_PATH.read_text() == schema_text()


def test_checking_a_config_needs_no_numeric_library() -> None:
    code = "import sys, trainer.config; print({'numpy', 'torch', 'vizdoom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_config_survives_its_own_mapping() -> None:
    config = parse({"scenario": "deathmatch", "reward_weights": {"kill": 5}, "seed": 2**30 - 1})
    assert parse(config.to_mapping()) == config


def test_whole_numbers_may_arrive_as_json_numbers() -> None:
    config = parse({"batch_size": 64.0, "gamma": 1})
    assert (config.batch_size, config.gamma) == (64, 1.0)
    assert isinstance(config.batch_size, int)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gamma", 1.5),
        ("gamma", float("nan")),
        ("gamma", "0.9"),
        ("gamma", True),
        ("learning_rate", 0),
        ("batch_size", 6.5),
        ("batch_size", 0),
        ("batch_size", True),
        ("seed", 2**30),
        ("seed", -1),
        ("scenario", "no_such"),
        ("algorithm", "dqn"),
        ("action_combinations", "fly;attack"),
        ("action_combinations", 5),
        ("depth", 1),
        ("height", 20),
        ("reward_weights", []),
        ("map_id", "not-a-uuid"),
        ("map_id", "7d444840-9dc0-11d1-b245-5ffdce74fad2"),
        ("stop_decay", 1000),
        ("learning_starts", 50_000),
        ("replay_capacity", 300),
    ],
)
def test_bad_value_is_refused_naming_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({field: value})
    assert refusal.value.field in {field, "learning_starts"}
    assert str(refusal.value) == f"{refusal.value.field}: {refusal.value.rule}"


def test_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"learnig_rate: .*did you mean learning_rate\?"):
        parse({"learnig_rate": 0.1})
    with pytest.raises(ConfigError, match=r"reward_weights\.kills: is unknown; known: kill, "):
        parse({"reward_weights": {"kills": 1}})


def test_map_decides_the_scenario() -> None:
    deathmatch = map_id("doom", "deathmatch")
    assert parse({"map_id": deathmatch}).scenario == "deathmatch"
    with pytest.raises(ConfigError, match="scenario: does not fit map_id"):
        parse({"map_id": deathmatch, "scenario": "basic"})


def test_total_steps_decides_the_iterations() -> None:
    assert parse({"total_steps": 10, "games": 4}).iterations == 3
    assert parse({"max_iterations": 7}).iterations == 7


def test_seeds_of_training_and_judging_are_disjoint_from_each_other_and_from_suites() -> None:
    seeds = [episode_seed(seed, 0, 0, game) for seed in range(50) for game in range(50)]
    assert min(seeds) >= 0
    assert max(seeds) < EVALUATION_SEEDS
    assert EVALUATION_SEEDS * 2 == 2**30
