"""WAD files: a directory of named lumps (the Unofficial Doom Specs, chapter 2)."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = struct.Struct("<4sii")
_ENTRY = struct.Struct("<ii8s")
_TEXTURE = re.compile(rb'texture(?:top|middle|bottom|floor|ceiling)\s*=\s*"([^"]*)"')
# No texture at all, and the sky, which the engine draws in a way of its own.
_NO_TEXTURES = {"-", "F_SKY1"}
# The lump after a map's name: in UDMF, and in the older formats of Doom and Hexen.
_FIRST_OF_A_MAP = {"TEXTMAP", "THINGS"}


class WadError(ValueError):
    """The file is no whole WAD; the message names the file and what is wrong with it."""


class Lump(NamedTuple):
    """A named piece of a WAD; the name has at most 8 characters."""

    name: str
    content: bytes = b""


class Place(NamedTuple):
    """Where in the file a lump is, in bytes."""

    name: str
    start: int
    size: int


def read_directory(path: Path) -> list[Place]:
    """Read where the lumps are, in order. Raises WadError, or OSError where nothing can be read."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:4] not in {b"IWAD", b"PWAD"}:
            raise WadError(f"{path.name} is not a WAD: it begins with {head[:4]!r}")
        _, count, start = _HEADER.unpack(head)
        if min(count, start) < 0 or start + count * _ENTRY.size > length:
            raise WadError(f"{path.name} is cut off: {length} bytes do not hold its directory")
        file.seek(start)
        entries = list(_ENTRY.iter_unpack(file.read(count * _ENTRY.size)))
    places = [
        Place(name.split(b"\0")[0].decode("ascii", "replace").upper(), start, size)
        for start, size, name in entries
    ]
    for name, first, size in places:
        # Where a lump without content is means nothing.
        if size and (min(first, size) < 0 or first + size > length):
            raise WadError(f"{path.name} is cut off: {length} bytes do not hold its lump {name}")
    return places


def read_wad(path: Path) -> list[Lump]:
    """Read all lumps of the file, in order. Raises what `read_directory` raises."""
    places = read_directory(path)
    data = path.read_bytes()
    return [Lump(name, data[start : start + size]) for name, start, size in places]


def map_names(path: Path) -> tuple[str, ...]:
    """Name the maps of the file, in order and upper case. Raises what `read_directory` raises.

    The engine itself plays a map of the base game where the file has none of that name.
    """
    names = [place.name for place in read_directory(path)]
    return tuple(name for name, after in pairwise(names) if after in _FIRST_OF_A_MAP)


def write_wad(path: Path, lumps: list[Lump]) -> None:
    """Write a patch WAD of `lumps`."""
    contents, directory, start = [], [], _HEADER.size
    for lump in lumps:
        directory.append(_ENTRY.pack(start, len(lump.content), lump.name.encode("ascii")))
        contents.append(lump.content)
        start += len(lump.content)
    header = _HEADER.pack(b"PWAD", len(lumps), start)
    path.write_bytes(b"".join([header, *contents, *directory]))


def textures(lumps: list[Lump]) -> list[str]:
    """Name the textures of walls, floors and ceilings of all maps in the UDMF format, sorted."""
    maps = [lump.content for lump in lumps if lump.name == "TEXTMAP"]
    names = {name.decode("ascii") for content in maps for name in _TEXTURE.findall(content)}
    return sorted(names - _NO_TEXTURES)
