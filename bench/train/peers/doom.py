"""The game as peers play it, and the 20 episodes on which everybody is judged."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import vizdoom

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FRAME_SKIP = 4
HISTORY = 4
HEIGHT, WIDTH = 36, 64
EVALUATION_SEEDS = tuple(range(2**29, 2**29 + 20))
"""Seeds of ViZDoom's `set_seed`; no contestant trains on them."""
TRAINING_SEEDS = 2**29
REWARD_SCALE = {"basic": 0.01, "defend_the_center": 1.0, "health_gathering": 0.01}
"""Factor on the rewards that peers learn from; Sample Factory's own for these scenarios."""


class Doom:
    """One game: 36x64 gray, four newest frames, one button at a time, frame skip 4."""

    def __init__(self, scenario: str, seed: int) -> None:
        """Start the engine; `seed` decides the episodes that begin without one of their own."""
        self.scenario = scenario
        self.engine = engine(scenario, seed=seed)
        self.action_count = self.engine.get_available_buttons_size()
        self._presses = np.eye(self.action_count, dtype=bool).tolist()
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=HISTORY)

    def new_episode(self, seed: int | None = None) -> NDArray[np.uint8]:
        """Begin an episode; answers uint8 [4, 36, 64], the newest frame last."""
        if seed is not None:
            self.engine.set_seed(seed)
        self.engine.new_episode()
        self._frames.extend([self._frame()] * HISTORY)
        return np.stack(self._frames)

    def make_action(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool]:
        """Press one button for the frame skip; answers observation, reward, terminated, truncated.

        The observation of an episode's end is the last one that there was.
        """
        reward = self.engine.make_action(self._presses[action], FRAME_SKIP)
        reward *= REWARD_SCALE[self.scenario]
        if self.engine.is_episode_finished():
            is_cut = self.engine.is_episode_timeout_reached() and not self.engine.is_player_dead()
            return np.stack(self._frames), reward, not is_cut, is_cut
        self._frames.append(self._frame())
        return np.stack(self._frames), reward, False, False

    def _frame(self) -> NDArray[np.uint8]:
        screen = self.engine.get_state().screen_buffer
        return np.asarray(cv2.resize(screen, (WIDTH, HEIGHT)), np.uint8)


def engine(
    scenario: str, *, seed: int, labels: bool = False, buttons: tuple[str, ...] = ()
) -> vizdoom.DoomGame:
    """Start a game at the engine's smallest size, 160x120 gray.

    Without `buttons` the scenario's own are available.
    """
    game = vizdoom.DoomGame()
    game.load_config(str(Path(vizdoom.scenarios_path) / f"{scenario}.cfg"))
    game.set_window_visible(False)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.GRAY8)
    game.set_labels_buffer_enabled(labels)
    if buttons:
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in buttons])
    game.set_seed(seed)
    game.init()
    return game


def score(game: vizdoom.DoomGame, scenario: str) -> float:
    """Judge a finished episode: kills, tics survived, or the scenario's own reward."""
    total = game.get_total_reward()
    if scenario == "defend_the_center":
        return total + game.is_player_dead()
    if scenario == "health_gathering":
        return total + 100 * game.is_player_dead()
    return total


def evaluate(game: Doom, act: Callable[[NDArray[np.uint8]], int]) -> float:
    """Play the evaluation episodes by `act`; answers their mean score."""
    scores = []
    for seed in EVALUATION_SEEDS:
        observation = game.new_episode(seed)
        is_over = False
        while not is_over:
            observation, _, terminated, truncated = game.make_action(act(observation))
            is_over = terminated or truncated
        scores.append(score(game.engine, game.scenario))
    return sum(scores) / len(scores)
