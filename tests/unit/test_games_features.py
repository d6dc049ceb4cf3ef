from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from games.doom.environment import DoomGame
from games.doom.features import FEATURE_NAMES, read_features
from games.doom.observation import ObservationOptions


@dataclass
class Label:
    """What the engine says of an object: a category, its value in the buffer, and its box."""

    object_category: str
    value: int
    x: int
    width: int


def screen(*labels: Label) -> np.ndarray:
    """Draw boxes over the whole height of 8 x 20 pixels, later ones over earlier ones."""
    buffer = np.zeros((8, 20), dtype=np.uint8)
    for label in labels:
        buffer[:, label.x : label.x + label.width] = label.value
    return buffer


@pytest.mark.parametrize(
    ("labels", "has_players", "expected"),
    [
        ([], False, (False, False)),
        ([Label("Monster", 5, x=2, width=4)], False, (False, True)),
        ([Label("Monster", 5, x=7, width=6)], False, (True, True)),
        ([Label("Monster", 5, x=10, width=1)], False, (True, True)),
        ([Label("Monster", 5, x=9, width=1)], False, (True, True)),
        ([Label("Monster", 5, x=11, width=4)], False, (False, True)),
        ([Label("Gore", 5, x=7, width=6)], False, (False, False)),
        ([Label("Health", 5, x=7, width=6)], False, (False, False)),
        ([Label("Self", 255, x=7, width=6)], True, (False, False)),
        ([Label("Player", 5, x=7, width=6)], False, (False, False)),
        ([Label("Player", 5, x=7, width=6)], True, (True, True)),
        # Something else stands in front of the middle of the monster.
        ([Label("Monster", 5, x=7, width=6), Label("Armor", 6, x=8, width=3)], True, (False, True)),
    ],
)
def test_features_are_read_from_labels(
    labels: list[Label], has_players: bool, expected: tuple[bool, bool]
) -> None:
    assert read_features(labels, screen(*labels), has_players=has_players) == expected


def test_features_of_a_game_agree_with_its_screen() -> None:
    options = ObservationOptions()
    frame = np.zeros((1, 36, 64), dtype=np.uint8)
    seen = set()
    with DoomGame("basic", options, action_combinations="move_lr", features=True) as game:
        assert game.feature_names == FEATURE_NAMES
        assert game.observation_space == options.space
        game.new_episode(1, frame)
        for action in [0] * 20 + [1] * 40:
            game.make_action(action, frame)
            state = game._engine.get_state()
            monsters = {label.value for label in state.labels if label.object_name == "Cacodemon"}
            middle = set(np.unique(state.labels_buffer[:, 79:81]))
            seen.add(game.features)
            assert game.features == (bool(monsters & middle), bool(monsters))
    assert seen >= {(True, True), (False, True)}


def test_no_features_are_read_unless_asked_for() -> None:
    frame = np.zeros((2, 36, 64), dtype=np.uint8)
    with DoomGame("basic", ObservationOptions(labels=True)) as game:
        game.new_episode(1, frame)
        assert game.feature_names == game.features == ()
