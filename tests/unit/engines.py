"""Games to play in tests, and the processes that they leave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from games.interface import Game

ROOT = Path(__file__).parents[2]
REAL_MAPS = ROOT / ".." / "shared" / "data" / "maps"


def a_frame(game: Game) -> np.ndarray:
    space = game.observation_space
    return np.zeros((space.frame_channels, space.height, space.width), dtype=np.uint8)


class Process(NamedTuple):
    """A living process, as its parent and group know it."""

    name: str
    parent: int
    group: int


def processes() -> dict[int, Process]:
    """List the living processes by their number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (entry / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, parent, group = rest.split()[:3]
        if state != "Z":
            found[int(entry.name)] = Process(name.partition("(")[2], int(parent), int(group))
    return found


def group_of(leader: int) -> list[str]:
    """Name the living processes of a group."""
    return [process.name for process in processes().values() if process.group == leader]


def own_engines() -> list[int]:
    """List the engines that this process has started, each by way of a script."""
    known = processes()
    scripts = {pid for pid, process in known.items() if process.parent == os.getpid()}
    return [
        pid
        for pid, process in known.items()
        if process.name == "vizdoom" and process.parent in scripts
    ]
