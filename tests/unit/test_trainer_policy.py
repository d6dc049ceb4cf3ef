"""A policy acts like the network that it was saved from, and loads nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint
from trainer.networks import QNetwork, Seen, Shape, build, describe
from trainer.policy import load

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = Shape(frames=(4, 36, 64), action_count=5)
NETWORK = build(lambda: QNetwork(SHAPE), seed=4)
DECLARED = replace(MANIFEST, network=describe(NETWORK, SHAPE))


def saved(directory: Path, manifest: checkpoint.Manifest) -> Path:
    path = directory / "checkpoint.safetensors"
    weights = {name: tensor.numpy() for name, tensor in NETWORK.state_dict().items()}
    checkpoint.write(path, manifest, checkpoint.grouped(network=weights))
    return path


def test_policy_acts_like_the_network_it_was_saved_from(tmp_path: Path) -> None:
    policy = load(saved(tmp_path, DECLARED))
    frames = np.random.default_rng(1).integers(0, 256, (50, *SHAPE.frames), dtype=np.uint8)
    with torch.inference_mode():
        values, _ = NETWORK(Seen(torch.from_numpy(frames), torch.zeros(50, 0)), torch.zeros(50, 0))
    chosen = values.argmax(dim=1).tolist()
    assert [policy.act(seen, {}) for seen in frames] == chosen
    assert len(set(chosen)) > 1
    assert {policy.act(frames[0], {}) for _ in range(100)} == {chosen[0]}


def test_an_episode_of_the_same_frames_is_played_the_same_after_another(tmp_path: Path) -> None:
    shape = replace(SHAPE, recurrent=True, hidden=16)
    network = build(lambda: QNetwork(shape), seed=4)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    path = tmp_path / "checkpoint.safetensors"
    manifest = replace(DECLARED, network=describe(network, shape), recurrent=True)
    checkpoint.write(path, manifest, checkpoint.grouped(network=weights))
    policy = load(path)
    frames = np.random.default_rng(1).integers(0, 256, (50, *SHAPE.frames), dtype=np.uint8)
    first, remembering = ([policy.act(seen, {}) for seen in frames] for _ in range(2))
    policy.begin()
    assert [policy.act(seen, {}) for seen in frames] == first
    assert remembering != first


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": {"name": "Mystery", "arguments": {}}}, "'Mystery' is unknown"),
        ({"network": {"name": "QNetwork", "arguments": {}}}, "frames"),
        ({"action_count": 6}, "has 5 actions, but action_count is 6"),
        ({"observation_shape": (3, 36, 64)}, r"show \(4, 36, 64\), .* is \(3, 36, 64\)"),
        ({"observation": {"history": 4, "smell": True}}, "smell"),
        ({"observation": {"history": 4, "screen": "1x1"}}, "screen: must be one of"),
        (
            {"observation": {"history": 3}, "observation_shape": (3, 36, 64)},
            r"sees \(4, 36, 64\), but observation_shape is \(3, 36, 64\)",
        ),
        (
            {
                "observation": {"history": 3},
                "observation_shape": (3, 36, 64),
                "network": describe(NETWORK, replace(SHAPE, frames=(3, 36, 64))),
            },
            r"convolutions\.0\.weight is 16x4x8x8, needed is 16x3x8x8",
        ),
    ],
)
def test_policy_of_another_network_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = saved(tmp_path, replace(DECLARED, **change))
    with pytest.raises(checkpoint.CheckpointError, match=reason):
        load(path)
