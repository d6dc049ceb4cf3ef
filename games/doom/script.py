"""Assembles scripts for the engine's virtual machine, ACS, in the format that Hexen introduced.

Format: https://zdoom.org/wiki/ACS0. Instruction numbers: p_acs.h of ZDoom 2.8, from which ViZDoom
is made. A word is 4 bytes, little-endian. A module's scripts run beside those of the map.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

# A text in a code pushes itself; a number is an instruction or what follows one.
Code: TypeAlias = list[int | str]

_START = 8
_FIRST_NUMBER = 900


class Op(IntEnum):
    """The instructions used; arguments are on the stack, for "direct" ones in the code."""

    TERMINATE = 1
    PUSH_NUMBER = 3
    DELAY_DIRECT = 56
    AND_BITS = 72
    RIGHT_SHIFT = 77
    IF_NOT_GOTO = 79
    CLEAR_INVENTORY = 142
    GIVE_INVENTORY = 143
    TAG_STRING = 225
    GET_CVAR = 255
    SET_ACTOR_ANGLE = 276
    REPLACE_TEXTURES = 329


class Trigger(IntEnum):
    """When a script begins: with the map, or with a player who comes or comes back to life."""

    OPEN = 1
    RESPAWN = 2
    ENTER = 4


@dataclass(frozen=True)
class Script:
    """Runs `body` once; where a console variable is named as `condition`, only if it is not 0."""

    trigger: Trigger
    body: Code
    condition: str = ""


def push(number: int) -> Code:
    """Put a number on the stack."""
    return [Op.PUSH_NUMBER, number]


def variable(name: str) -> Code:
    """Put the value of a console variable on the stack."""
    return [name, Op.GET_CVAR]


def assemble(scripts: list[Script], texts: tuple[str, ...] = ()) -> bytes:
    """Make a module of `scripts`; text i of `texts` has the number i in their codes."""
    table = dict(zip(texts, range(len(texts)), strict=True))
    words: list[int] = []
    directory = [len(scripts)]
    for number, script in enumerate(scripts, start=_FIRST_NUMBER):
        directory += [script.trigger * 1000 + number, _START + 4 * len(words), 0]
        body = [*_resolved(script.body, table), Op.TERMINATE]
        if script.condition:
            words += [*_resolved(variable(script.condition), table), Op.IF_NOT_GOTO]
            # Past this word and the body lies the end of the script.
            words.append(_START + 4 * (len(words) + len(body)))
        words += body
    code = struct.pack(f"<{len(words)}i", *words)
    return _with_texts(code, directory, list(table))


def _resolved(code: Code, table: dict[str, int]) -> list[int]:
    words: list[int] = []
    for word in code:
        if isinstance(word, str):
            # The tag says in whose table to look.
            words += [Op.PUSH_NUMBER, table.setdefault(word, len(table)), Op.TAG_STRING]
        else:
            words.append(word)
    return words


def _with_texts(code: bytes, directory: list[int], texts: list[str]) -> bytes:
    places, content = [], b""
    for text in texts:
        places.append(_START + len(code) + len(content))
        content += text.encode("ascii") + b"\0"
    content += b"\0" * (-len(content) % 4)
    end = [*directory, len(places), *places]
    header = struct.pack("<4si", b"ACS\0", _START + len(code) + len(content))
    return header + code + content + struct.pack(f"<{len(end)}i", *end)
