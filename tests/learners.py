"""Several learners as threads of one process, with the group that processes have: gloo."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
from torch import distributed

from tests.toy import LampGame, parts
from trainer.peers import Peers
from trainer.reporter import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from games.interface import Game
    from trainer.config import Config
    from trainer.reporter import Reporter

SMALL: dict[str, Any] = {
    "game": "catch",
    "learners": 2,
    "actors": 2,
    "games": 8,
    "channels": [8],
    "hidden": 32,
    "seed": 3,
    "eval_episodes": 5,
}
"""A training of two learners that takes seconds."""
TIMEOUT = timedelta(seconds=20)
# Weights are drawn from a generator that the threads of a process have in common.
BUILDING = threading.Lock()


def started() -> list[psutil.Process]:
    """Return the actors and learners that this process has started, by its fork server."""
    # Whatever else this process has started, for other tests, is not looked at.
    return [
        one for child in psutil.Process().children() if _forks(child) for one in child.children()
    ]


def _forks(child: psutil.Process) -> bool:
    try:
        return "forkserver" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # or only its exit status is left
        return False


def together(count: int, do: Callable[[Peers], Any]) -> list[Any]:
    """Let `count` learners do the same; answers what each of them answers."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = distributed.HashStore()

    def be(rank: int) -> Any:
        group = distributed.ProcessGroupGloo(store, rank, count, TIMEOUT)
        return do(Peers(group, place=rank, places=count))

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(be, range(count)))


def train_together(
    config: Config,
    reporter: Reporter,
    start: Callable[[str], Game] = LampGame,
    *,
    load: Path | None = None,
) -> None:
    """Train on a toy game with the learners of the config, from the checkpoint `load` on if any."""

    def learn(peers: Peers) -> None:
        with BUILDING:
            made = parts(config, start, peers=peers)
            players = made.alone()
        with players:
            if peers.rank:
                made.training(players, Silent()).follow()
                return
            training = made.training(players, reporter)
            if load is not None:
                training.load(load)
            training.run()
            training.dismiss()

    together(config.learners, learn)
