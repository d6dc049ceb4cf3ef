"""Catch as a game of runs: its own settings, its own players, judged by the same referee."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

from games.catalogue import GAMES
from referee.agents import TrainedAgent, builtin_agent
from referee.evaluations import check_game
from referee.playing import open_game, play_episode
from trainer import checkpoint
from trainer.algorithms import network_shape
from trainer.coherence import OF_DOOM
from trainer.config import Config, ConfigError, parse
from trainer.games import game_setup
from trainer.networks import QNetwork, build, describe

if TYPE_CHECKING:
    from pathlib import Path

BOARD = SuiteScenario(game="catch", scenario="board", frame_skip=1)
CONFIG = parse({"game": "catch", "history": 2, "channels": [4], "hidden": 8})


def test_catch_has_a_map_and_defaults_of_its_own() -> None:
    config = parse({"game": "catch"})
    assert (config.scenario, config.history, config.frame_skip) == ("board", 1, 1)
    catalogued = next(game for game in GAMES if game.name == "catch")
    assert catalogued.config_defaults.items() <= config.to_mapping().items()
    assert parse(config.to_mapping()) == config
    assert not set(OF_DOOM) & config.to_mapping().keys()
    assert set(OF_DOOM) < {entry.name for entry in fields(Config)}


@pytest.mark.parametrize("name", OF_DOOM)
def test_a_setting_of_doom_alone_is_refused_by_name(name: str) -> None:
    default = parse({}).to_mapping()[name]
    with pytest.raises(ConfigError, match=f"^{name}: is no setting of catch, only of doom$"):
        parse({"game": "catch", name: default})


def test_a_map_of_another_game_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^scenario: is no map of catch; known: board$"):
        parse({"game": "catch", "scenario": "basic"})
    with pytest.raises(ConfigError, match=r"^scenario: is no map of doom; known: basic, "):
        parse({"scenario": "board"})
    with pytest.raises(ConfigError, match=r"^test_maps\[0\]: is no map of doom"):
        parse({"test_maps": ["board"]})


def saved(directory: Path, **change: Any) -> Path:
    """Keep a fresh player of Catch, as a training would."""
    game, shape = game_setup(CONFIG), network_shape(CONFIG, game_setup(CONFIG))
    network = build(lambda: QNetwork(shape), seed=4)
    manifest = checkpoint.Manifest(
        algorithm="DQN",
        game="catch",
        scenario="board",
        action_combinations=game.action_combinations,
        action_count=game.action_count,
        observation_shape=game.space.shape,
        observation=dict(game.observation),
        frame_skip=CONFIG.frame_skip,
        recurrent=False,
        network=describe(network, shape),
        config=CONFIG.to_mapping(),
        iteration=1,
        steps=4,
    )
    path = directory / "checkpoint.safetensors"
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    checkpoint.write(path, replace(manifest, **change), checkpoint.grouped(network=weights))
    return path


def test_the_referee_measures_trained_and_built_in_players_alike(tmp_path: Path) -> None:
    for agent in (TrainedAgent(saved(tmp_path)), builtin_agent("random", BOARD)):
        with open_game(BOARD, agent) as game:
            measured = [
                play_episode(game, agent, seed, ["return", "decisions", "timed_out"]).metrics
                for seed in (2**30, 2**30 + 1, 2**30)
            ]
        assert measured[0] == measured[2]
        assert all(one["return"] in {-1, 1} and one["decisions"] == 11 for one in measured)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"observation": {"history": 3}}, "show .* but observation_shape is"),
        ({"observation": {"history": 0}}, "history: must be from 1 to 16, is 0"),
        ({"observation": {"history": 2, "depth": True}}, "depth"),
        ({"action_count": 4}, "has 3 actions, but action_count is 4"),
        ({"game": "chess"}, "chess"),
    ],
)
def test_a_player_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(checkpoint.CheckpointError, match=reason):
        TrainedAgent(saved(tmp_path, **change))


def test_a_player_is_judged_on_its_own_game_alone() -> None:
    check_game("catch", [BOARD])
    with pytest.raises(checkpoint.CheckpointError, match="plays doom, and scenario board is of"):
        check_game("doom", [SuiteScenario(game="doom", scenario="basic"), BOARD])
