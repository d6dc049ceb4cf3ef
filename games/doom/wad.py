"""WAD files: a directory of named lumps (the Unofficial Doom Specs, chapter 2)."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = struct.Struct("<4sii")
_ENTRY = struct.Struct("<ii8s")
_TEXTURE = re.compile(rb'texture(?:top|middle|bottom|floor|ceiling)\s*=\s*"([^"]*)"')
# No texture at all, and the sky, which the engine draws in a way of its own.
_NO_TEXTURES = {"-", "F_SKY1"}


class Lump(NamedTuple):
    """A named piece of a WAD; the name has at most 8 characters."""

    name: str
    content: bytes = b""


def read_wad(path: Path) -> list[Lump]:
    """Read all lumps of the file, in order."""
    data = path.read_bytes()
    _, count, directory = _HEADER.unpack_from(data)
    entries = [_ENTRY.unpack_from(data, directory + index * _ENTRY.size) for index in range(count)]
    return [
        Lump(name.rstrip(b"\0").decode("ascii"), data[start : start + size])
        for start, size, name in entries
    ]


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
