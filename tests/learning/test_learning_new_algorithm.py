"""Adding an algorithm takes what trainer/README.md says: `tests/reinforce.py`, and its recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tests import reinforce
from trainer import checkpoint
from trainer.algorithms import RECIPES, opened
from trainer.config import parse
from trainer.offline import OfflineReporter
from trainer.policy import load
from trainer.reporter import Request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = replace(
    parse(
        {
            "game": "catch",
            "seed": 3,
            "history": 1,
            "rollout_steps": 22,
            "channels": [16],
            "hidden": 64,
            "learning_rate": 3e-3,
            "gamma": 0.9,
            "max_iterations": 80,
            "checkpoint_interval": 40,
            "eval_episodes": 50,
        }
    ),
    algorithm="REINFORCE",
)


def test_an_algorithm_is_a_file_and_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "REINFORCE", reinforce.RECIPE)
    reporter = OfflineReporter(tmp_path)
    with opened(CONFIG, reporter) as training:
        assert training.run() is Request.GO_ON
    # From -1 to 1; whoever moves at random is below 0.
    *_, learned = reporter.points["eval_return"].values()
    assert learned > 0.4
    assert checkpoint.read_manifest(reporter.path_of(80)).algorithm == "REINFORCE"
    player = load(reporter.path_of(80))
    assert player.act(np.zeros((1, 36, 36), dtype=np.uint8), {}) in range(3)
