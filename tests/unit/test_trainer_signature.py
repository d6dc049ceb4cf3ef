"""A checkpoint is loaded only where it fits, and a refusal names both sides."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint
from trainer.algorithms import network_shape
from trainer.checkpoint import CheckpointError
from trainer.config import parse
from trainer.games import game_setup
from trainer.networks import QNetwork, describe
from trainer.offline import OfflineReporter
from trainer.signature import check_shapes, check_signature
from trainer.training import Training

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = {"conv.0.weight": (32, 3, 8, 8), "head.bias": (5,), "norm.num_batches_tracked": ()}


def test_what_a_player_neither_sees_nor_does_may_differ() -> None:
    check_signature(replace(MANIFEST, iteration=7, config={"seed": 8}, scenario="x"), MANIFEST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_shape": (3, 36, 64)}, "observation_shape is 3x36x64, needed is 4x36x64"),
        ({"action_count": 6}, "action_count is 6, needed is 5"),
        ({"action_combinations": "attack"}, "action_combinations is attack, needed is move_lr;a"),
        ({"frame_skip": 1}, "frame_skip is 1, needed is 4"),
        ({"recurrent": True}, "recurrent is True, needed is False"),
        ({"frame_skip": 1, "game": "pong"}, "game is pong, needed is doom; frame_skip is 1"),
    ],
)
def test_a_signature_that_differs_is_refused_with_both_values(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_signature(replace(MANIFEST, **change), MANIFEST)


def test_training_refuses_to_go_on_from_a_checkpoint_of_another_shape(tmp_path: Path) -> None:
    """Four channels into a config of three: both shapes are in the message."""
    config = parse({"history": 3, "color": "gray", "frame_skip": 2})
    game = game_setup(config)
    shape = network_shape(config, game)
    algorithm = SimpleNamespace(description=lambda: describe(QNetwork(shape), shape))
    training = Training(config, game, algorithm, SimpleNamespace(), OfflineReporter(tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.write(path, MANIFEST, {})
    expected = "is 4x36x64, needed is 3x36x64; frame_skip is 4, needed is 2"
    with pytest.raises(CheckpointError, match=expected):
        training.load(path)


def test_weights_that_fit_are_accepted_with_and_without_a_count_of_batches() -> None:
    check_shapes(NEEDED, NEEDED, network="a net")
    without = {name: shape for name, shape in NEEDED.items() if not name.startswith("norm")}
    check_shapes(without, NEEDED, network="a net")


def test_every_weight_that_does_not_fit_is_listed_with_both_shapes() -> None:
    found = {"conv.0.weight": (32, 4, 8, 8), "tail.bias": (2,), "tail.scale": ()}
    with pytest.raises(CheckpointError) as refused:
        check_shapes(found, NEEDED, network="a net")
    assert str(refused.value) == (
        "the weights do not fit a net; missing: head.bias 5; "
        "unknown: tail.bias 2, tail.scale a number; "
        "of another shape: conv.0.weight is 32x4x8x8, needed is 32x3x8x8"
    )
