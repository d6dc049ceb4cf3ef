"""Arnold's networks: declared, imported, and equal to a second forward pass."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.unit.arnold_reference import Reference
from trainer import arnold_parameters, checkpoint
from trainer.arnold import ArnoldNetwork, import_state_dict, shapes
from trainer.arnold_parameters import PRESETS, Parameters
from trainer.checkpoint import CheckpointError
from trainer.policy import load
from trainer.rules import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONVOLUTIONS = {"conv.0.bias": (32,), "conv.2.weight": (64, 32, 4, 4), "conv.2.bias": (64,)}
DEATHMATCH = CONVOLUTIONS | {
    "conv.0.weight": (32, 3, 8, 8),
    "health_emb.weight": (11, 32),
    "sel_ammo_emb.weight": (301, 32),
    "proj_game_features.1.weight": (512, 4608),
    "proj_game_features.1.bias": (512,),
    "proj_game_features.4.weight": (2, 512),
    "proj_game_features.4.bias": (2,),
    "rnn.weight_ih_l0": (2048, 4672),
    "rnn.weight_hh_l0": (2048, 512),
    "rnn.bias_ih_l0": (2048,),
    "rnn.bias_hh_l0": (2048,),
    "proj_action_scores.weight": (29, 512),
    "proj_action_scores.bias": (29,),
}
# Worked out by hand from the commands and the layers that the repository declares.
PUBLISHED = {
    "defend_the_center": CONVOLUTIONS
    | {
        "conv.0.weight": (32, 12, 8, 8),
        "health_emb.weight": (101, 32),
        "sel_ammo_emb.weight": (301, 32),
        "feedforward.0.weight": (512, 4672),
        "feedforward.0.bias": (512,),
        "proj_action_scores.weight": (3, 512),
        "proj_action_scores.bias": (3,),
    },
    "health_gathering": CONVOLUTIONS
    | {
        "conv.0.weight": (32, 12, 8, 8),
        "health_emb.weight": (101, 32),
        "feedforward.0.weight": (512, 4640),
        "feedforward.0.bias": (512,),
        "proj_action_scores.weight": (8, 512),
        "proj_action_scores.bias": (8,),
    },
    "vizdoom_2017_track1": DEATHMATCH
    | {"proj_action_scores.weight": (35, 512), "proj_action_scores.bias": (35,)},
    "vizdoom_2017_track2": DEATHMATCH,
    "deathmatch_shotgun": DEATHMATCH | {"conv.0.weight": (32, 4, 8, 8)},
}
TABLES = {
    "defend_the_center": [("health", 101, 1), ("sel_ammo", 301, 1)],
    "health_gathering": [("health", 101, 1)],
    "vizdoom_2017_track1": [("health", 101, 10), ("sel_ammo", 301, 1)],
    "vizdoom_2017_track2": [("health", 101, 10), ("sel_ammo", 301, 1)],
    "deathmatch_shotgun": [("health", 101, 10), ("sel_ammo", 301, 1)],
}
SMALL = {"height": 36, "width": 64, "hidden_dim": 24, "action_combinations": "turn_lr;attack"}


def random_weights(sizes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that let every input matter: values of about 1 behind each layer."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sizes.items():
        fan_in = np.prod(shape[1:]) if len(shape) > 1 and "_emb" not in name else 1
        state[name] = torch.randn(shape, generator=generator) * 1.5 / float(fan_in) ** 0.5
        if name.endswith("running_var"):
            state[name] = state[name].abs() + 0.5
    return state


def a_network(**declared: Any) -> tuple[Parameters, dict[str, torch.Tensor]]:
    """A small network that differs from the published ones, and weights for it."""
    parameters = arnold_parameters.parse(SMALL | declared)
    return parameters, random_weights(shapes(ArnoldNetwork(parameters).state_dict()), seed=1)


def difference(
    parameters: Parameters,
    state: dict[str, torch.Tensor],
    tables: list[tuple[str, int, int]],
    steps: int = 3,
) -> float:
    """Play some steps of two episodes side by side; answers the largest difference in Q."""
    network = ArnoldNetwork(parameters).eval()
    network.load_state_dict(state, strict=False)
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    generator = np.random.default_rng(5)
    space = parameters.observation.space
    screens = generator.integers(0, 256, (steps, 2, *space.shape), dtype=np.uint8)
    # Below and above what the tables are for, too.
    variables = generator.integers(-20, 320, (steps, 2, len(tables)))
    references = [
        Reference(weights, tables=tables, recurrence=parameters.recurrence) for _ in range(2)
    ]
    remembered, worst, spread = network.initial_state(2), 0.0, []
    with torch.inference_mode():
        for seen, told in zip(screens, variables, strict=True):
            values, remembered = network(torch.from_numpy(seen), torch.from_numpy(told), remembered)
            expected = [
                one.values(screen, list(numbers))
                for one, screen, numbers in zip(references, seen, told, strict=True)
            ]
            assert values.dtype == torch.float32
            worst = max(worst, float(np.abs(values.numpy() - expected).max()))
            spread.append(values.numpy())
    assert np.std(spread, axis=0).min() > 1e-3
    return worst


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_network_has_the_declared_weights_and_values_as_the_reference(
    name: str,
) -> None:
    parameters = PRESETS[name]
    assert shapes(ArnoldNetwork(parameters).state_dict()) == PUBLISHED[name]
    assert difference(parameters, random_weights(PUBLISHED[name]), TABLES[name]) < 1e-5


@pytest.mark.parametrize(
    "declared",
    [
        {"dueling_network": True, "gray": True, "hist_size": 1},
        {"use_bn": True, "use_depth_buffer": True, "labels_mapping": "0;1+3"},
        {"network_type": "dqn_rnn", "recurrence": "rnn", "dropout": 0.5},
        {"network_type": "dqn_rnn", "recurrence": "gru", "n_rec_layers": 2},
        {"network_type": "dqn_rnn", "recurrence": "lstm", "n_rec_layers": 3, "use_bn": True},
    ],
)
def test_every_option_values_as_the_reference(declared: dict[str, Any]) -> None:
    parameters, state = a_network(**declared, bucket_size=[7, 3], variable_dim=[5, 9])
    tables = [("health", 101, 7), ("sel_ammo", 301, 3)]
    assert difference(parameters, state, tables) < 1e-5


def test_game_features_are_told_as_by_the_reference() -> None:
    parameters, state = a_network(game_features="target,enemy,ammo", game_variables="")
    network = ArnoldNetwork(parameters).eval()
    network.load_state_dict(state)
    screen = np.random.default_rng(1).integers(0, 256, (12, 36, 64), dtype=np.uint8)
    reference = Reference({name: value.numpy() for name, value in state.items()}, tables=[])
    with torch.inference_mode():
        told = network.game_features(torch.from_numpy(screen)[None])[0].numpy()
    assert told.shape == (3,)
    assert np.abs(told - reference.features(screen)).max() < 1e-5


@pytest.mark.parametrize("zipped", [True, False])
def test_an_imported_file_becomes_a_checkpoint_of_the_same_weights(
    tmp_path: Path, zipped: bool
) -> None:
    """Files of before PyTorch 1.6 are no zip archives."""
    parameters, state = a_network(network_type="dqn_rnn", recurrence="lstm", speed="on")
    source, target = tmp_path / "arnold.pth", tmp_path / "arnold.safetensors"
    torch.save(state, source, _use_new_zipfile_serialization=zipped)
    checkpoint.write(target, *import_state_dict(source, parameters))

    manifest = checkpoint.read_manifest(target)
    assert (manifest.algorithm, manifest.recurrent, manifest.scenario) == (
        *("DRQN", True),
        "deathmatch",
    )
    assert manifest.action_combinations == "turn_lr;attack;speed!"
    assert manifest.observation_shape == (3, 36, 64)
    assert arnold_parameters.parse(manifest.network["arguments"]) == parameters
    weights = checkpoint.read_group(target, "network")
    assert weights.keys() == state.keys()
    assert all(np.array_equal(weights[name], state[name].numpy()) for name in state)


class Bomb:
    """Leaves a mark where it is unpickled by whoever runs what a pickle says."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_something_is_refused_and_nothing_runs(
    tmp_path: Path, zipped: bool
) -> None:
    parameters, state = a_network()
    bomb = Bomb(tmp_path / "mark")
    torch.save({**state, "bomb": bomb}, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        import_state_dict(tmp_path / "a", parameters)
    (tmp_path / "b").write_bytes(pickle.dumps(bomb, protocol=2))
    with pytest.raises(CheckpointError):
        import_state_dict(tmp_path / "b", parameters)
    assert not bomb.mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a state dict"),
        (b"PK\x03\x04 and then nothing", "not a state dict"),
        (b"garbage", "more than tensors|not a state dict"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "a.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        import_state_dict(path, PRESETS["defend_the_center"])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="it holds a list"):
        import_state_dict(tmp_path / "a.pth", PRESETS["defend_the_center"])
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="'epoch' of the state dict is a int, no tensor"):
        import_state_dict(tmp_path / "b.pth", PRESETS["defend_the_center"])


def test_a_state_dict_of_another_network_is_refused_listing_every_weight() -> None:
    parameters, state = a_network()
    state["extra.weight"] = torch.zeros(2, 3)
    del state["feedforward.0.bias"]
    with pytest.raises(CheckpointError) as refused:
        import_state_dict(state, replace(parameters, hist_size=3))
    assert str(refused.value) == (
        "the weights do not fit dqn_ff; missing: feedforward.0.bias 24; "
        "unknown: extra.weight 2x3; "
        "of another shape: conv.0.weight is 32x12x8x8, needed is 32x9x8x8"
    )


def test_weights_of_half_precision_and_old_normalisations_are_imported() -> None:
    parameters, state = a_network(use_bn=True)
    old = {name: tensor.half() for name, tensor in state.items() if "num_batches" not in name}
    assert len(old) == len(state) - 2
    _, tensors = import_state_dict(old, parameters)
    assert tensors["network.conv.0.weight"].dtype == np.float32
    assert tensors["network.conv.1.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"hiden_dim": 9}, "hiden_dim: is not a field; did you mean hidden_dim?"),
        ({"hidden_dim": 0}, "hidden_dim: must be a whole number from 1 to 4096"),
        ({"hist_size": 17}, "hist_size: must be a whole number from 1 to 16"),
        ({"frame_skip": 0}, "frame_skip: must be a whole number from 1 to 35"),
        ({"dropout": 1}, "dropout: must be a number from 0 to 0.99"),
        ({"network_type": "cnn"}, "network_type: must be one of dqn_ff, dqn_rnn"),
        ({"recurrence": "lstm"}, "recurrence: must be empty without network_type dqn_rnn"),
        ({"network_type": "dqn_rnn"}, "recurrence: must be rnn, gru or lstm with"),
        (
            {"bucket_size": [10, 1], "game_variables": "health"},
            "bucket_size: must be one number, or one for each of health",
        ),
        ({"bucket_size": [10, 0]}, "bucket_size[1]: must be a whole number from 1 to 301"),
        ({"bucket_size": [1, 2, 3]}, "bucket_size: must be a list of 1 to 2 whole numbers"),
        ({"variable_dim": 0}, "variable_dim[0]: must be a whole number from 1 to 1024"),
        ({"variable_dim": "32"}, "variable_dim: must be a list of 1 to 2 whole numbers"),
        ({"game_features": "target,smell"}, "game_features: must join some of target,enemy"),
        ({"game_variables": "armor"}, "game_variables: must join some of health,sel_ammo"),
        ({"labels_mapping": "0;7"}, "labels_mapping: '0;7' must join kinds 0 to 3"),
        ({"action_combinations": "fly"}, "action_combinations: unknown action 'fly'"),
        (
            {"action_combinations": "attack;speed", "speed": "on"},
            "action_combinations: 'attack;speed;speed!' names a button twice, or speed",
        ),
        ({"scenario": "e1m1"}, "scenario: must be one of basic"),
        ({"speed": "manual"}, "speed: must be one of on, off"),
    ],
)
def test_a_bad_declaration_is_refused_naming_the_parameter_and_its_range(
    declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        arnold_parameters.parse(declared)
    assert str(refused.value).startswith(message)


def test_what_is_left_out_takes_the_defaults_of_the_command_line() -> None:
    parameters = arnold_parameters.parse({})
    assert parameters.observation.space.shape == (12, 60, 108)
    assert parameters.action_count == 7
    assert [(row.buckets, row.width) for row in parameters.embeddings] == [(101, 32), (301, 32)]


def test_four_maps_are_drawn_in_the_order_of_their_kinds() -> None:
    for mapping, drawn in (("3;2;1;0", "0;1;2;3"), ("3;0+2", "3;0+2"), ("", "")):
        declared = arnold_parameters.parse({"labels_mapping": mapping})
        assert declared.observation.label_maps == drawn


def an_agent(directory: Path) -> Path:
    """A checkpoint of a recurrent player that changes its mind."""
    parameters, state = a_network(network_type="dqn_rnn", recurrence="lstm", dropout=0.5)
    state["rnn.weight_hh_l0"] *= 3
    state["proj_action_scores.bias"] *= 0
    path = directory / "player.safetensors"
    checkpoint.write(path, *import_state_dict(state, parameters))
    return path


def test_a_recurrent_player_remembers_within_an_episode_and_not_beyond(tmp_path: Path) -> None:
    policy = load(an_agent(tmp_path))
    screens = np.random.default_rng(2).integers(0, 256, (20, 3, 36, 64), dtype=np.uint8)
    told = {"HEALTH": 100.0, "SELECTED_WEAPON_AMMO": 50.0}

    def play() -> list[int]:
        return [policy.act(screen, told) for screen in screens]

    first, going_on = play(), play()
    policy.begin()
    assert play() == first
    assert going_on != first
    policy.begin()
    alone = []
    for screen in screens:
        policy.begin()
        alone.append(policy.act(screen, told))
    assert alone[0] == first[0]
    assert alone != first


def test_a_player_is_greedy(tmp_path: Path) -> None:
    policy = load(an_agent(tmp_path))
    screen = np.random.default_rng(3).integers(0, 256, (3, 36, 64), dtype=np.uint8)
    chosen = set()
    for _ in range(100):
        policy.begin()
        chosen.add(policy.act(screen, {"HEALTH": 80.0, "SELECTED_WEAPON_AMMO": 5.0}))
    assert len(chosen) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"hidden_dim": 10**9}, "hidden_dim: must be a whole number"),
        ({"hidden_dim": 12}, "scores.weight is 5x24, needed is 5x12"),
        ({"gray": True}, "observation_shape is 3x36x64, needed is 1x36x64"),
        ({"shape": 3}, "shape: is not a field"),
    ],
)
def test_a_checkpoint_that_declares_another_network_than_it_holds_is_refused(
    tmp_path: Path, arguments: dict[str, Any], reason: str
) -> None:
    path = an_agent(tmp_path)
    manifest, tensors = checkpoint.read_manifest(path), checkpoint.read_group(path, "network")
    network = {"name": "dqn_rnn", "arguments": manifest.network["arguments"] | arguments}
    checkpoint.write(path, replace(manifest, network=network), checkpoint.grouped(network=tensors))
    with pytest.raises(CheckpointError, match=reason):
        load(path)
