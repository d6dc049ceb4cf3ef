"""Games to play in tests, and the processes that they leave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from games.doom.wad import Lump, write_wad

if TYPE_CHECKING:
    from games.interface import Game

ROOT = Path(__file__).parents[2]
REAL_MAPS = ROOT / ".." / "shared" / "data" / "maps"

NEEDS_REAL_MAPS = pytest.mark.skipif(
    not REAL_MAPS.is_dir(),
    reason="no maps made by others lie beside this clone; arenas made here are played all the same",
)

_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
_ALWAYS = " ".join(f"{when} = true;" for when in ("skill3", "single", "coop", "dm"))


def arena(width: int) -> bytes:
    """Draw a square room for deathmatch, `width` map units wide, where eight can begin."""
    places = [(1 + column, 1 + row) for column in range(4) for row in range(2)]
    lines = [
        'namespace = "zdoom";',
        *(f"vertex {{ x = {x * width}; y = {y * width}; }}" for x, y in _CORNERS),
        *(
            f"linedef {{ v1 = {a}; v2 = {(a + 1) % 4}; sidefront = {a}; blocking = true; }}"
            for a in range(4)
        ),
        *['sidedef { sector = 0; texturemiddle = "STARTAN2"; }'] * 4,
        'sector { heightceiling = 128; texturefloor = "FLOOR0_1"; textureceiling = "CEIL1_1"; }',
        *(
            f"thing {{ x = {x * width // 5}; y = {y * width // 3}; type = 11; {_ALWAYS} }}"
            for x, y in places
        ),
    ]
    return "\n".join(lines).encode("ascii")


def write_arenas(path: Path, **widths: int) -> Path:
    """Write a WAD with an arena for each name of a map; answers `path`."""
    maps = [
        [Lump(name), Lump("TEXTMAP", arena(width)), Lump("ENDMAP")]
        for name, width in widths.items()
    ]
    write_wad(path, [lump for lumps in maps for lump in lumps])
    return path


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
