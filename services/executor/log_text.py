"""What a worker printed, made safe to store and to show."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINE_CHARACTERS = 8192
MAX_LINE_BYTES = 65536
"""A line that has not ended after so many bytes is cut there."""

_LAST_WORDS_BYTES = 4096
_GIVEN_BACK_BYTES = 1 << 20
_PUNCH_HOLE = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of <linux/falloc.h>."""
_libc = ctypes.CDLL(None)
_EXCEPTION = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]*(Error|Exception)\b")
_CUT = "… (cut)"
_SECRET = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a signed token
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    r"|\belo_[A-Za-z0-9_-]{8,}"  # an API key
)
# Tab stays; every other control character would act on a terminal, and Postgres refuses NUL.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Lines:
    """Complete lines as they were printed, and how many bytes they took."""

    printed: list[bytes]
    consumed_bytes: int


def split(data: bytes, *, is_final: bool) -> Lines:
    """Take the complete lines off the front; the last, unfinished one only when nothing follows."""
    *complete, rest = data.split(b"\n")
    consumed_bytes = len(data) - len(rest)
    if rest and (is_final or len(rest) > MAX_LINE_BYTES):
        complete.append(rest)
        consumed_bytes = len(data)
    return Lines(complete, consumed_bytes)


def clean(line: bytes) -> str:
    """Return one line as text: controls escaped, secrets hidden, at most 8,192 characters."""
    # A progress bar overwrites itself by carriage returns: what is left to see is the last part.
    visible = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = visible[:MAX_LINE_BYTES].decode("utf-8", errors="replace")
    text = _CONTROL.sub(_escape, _SECRET.sub("[redacted]", text))
    if len(text) > MAX_LINE_CHARACTERS or len(visible) > MAX_LINE_BYTES:
        text = text[: MAX_LINE_CHARACTERS - len(_CUT)] + _CUT
    return text


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def read(output: Path, offset_bytes: int, limit_bytes: int) -> bytes:
    """Return what a worker printed from an offset on; empty where there is no more yet.

    Whoever asks has taken over what lies before, so the disk gets that back: a worker that prints
    without end fills none. The file keeps its length, and its last words.
    """
    if not output.exists() or output.stat().st_size <= offset_bytes:
        return b""
    with output.open("r+b") as stream:
        _give_back(stream.fileno(), offset_bytes - _LAST_WORDS_BYTES)
        stream.seek(offset_bytes)
        return stream.read(limit_bytes)


def _give_back(file: int, size_bytes: int) -> None:
    if size_bytes >= _GIVEN_BACK_BYTES:
        # A file system that cannot do this keeps the file whole.
        _libc.fallocate(file, _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(size_bytes))


def last_words(output: Path) -> str:
    """Return the line that says best how a worker ended; empty where it printed nothing."""
    if not output.exists():
        return ""
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - _LAST_WORDS_BYTES))
        lines = [line for line in stream.read().splitlines() if line.strip()]
    # The message of an exception may go on for many lines; the first one says what it is.
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return clean((raised or lines)[-1]) if lines else ""
