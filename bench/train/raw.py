"""ViZDoom alone: `python -m bench.train.raw SCENARIO --games N`, random actions, each state read.

Every game shares one core with the process that plays it; counts are read from memory they share.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from typing import TYPE_CHECKING

import numpy as np

from bench.train.peers.doom import FRAME_SKIP, engine

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from numpy.typing import NDArray

WINDOWS = 5
WINDOW_S = 2.0


def main() -> None:
    """Print the steps per second of each window, all games together."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("--games", type=int, required=True)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    # The last place says that it is over.
    counts = context.RawArray("q", arguments.games + 1)
    players = [
        context.Process(target=_play, args=(arguments.scenario, index, counts))
        for index in range(arguments.games)
    ]
    for player in players:
        player.start()
    while min(counts[:-1]) < 1_000:
        time.sleep(0.05)
    for _ in range(WINDOWS):
        begin, before = time.perf_counter(), sum(counts)
        time.sleep(WINDOW_S)
        speed = (sum(counts) - before) / (time.perf_counter() - begin)
        print(json.dumps({"steps_per_s": round(speed, 1)}), flush=True)
    counts[-1] = 1
    for player in players:
        player.join()


def _play(scenario: str, index: int, counts: MutableSequence[int]) -> None:
    """Play on one core to the end, noting every step in `counts[index]`."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    game = engine(scenario, seed=index)
    presses = _random_presses(game.get_available_buttons_size(), seed=index).tolist()
    while not counts[-1]:
        for press in presses:
            game.make_action(press, FRAME_SKIP)
            if game.is_episode_finished():
                game.new_episode()
            game.get_state()
            counts[index] += 1
    game.close()


def _random_presses(buttons: int, seed: int) -> NDArray[np.bool_]:
    """Draw bool [4096, buttons], one button in each row."""
    chosen = np.random.default_rng(seed).integers(0, buttons, 4096)
    return np.eye(buttons, dtype=bool)[chosen]


if __name__ == "__main__":
    main()
