"""What a worker printed, made safe to store and to show."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE_CHARACTERS = 8192
MAX_LINE_BYTES = 65536
"""A line that has not ended after so many bytes is cut there."""

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
    """Complete lines and how many bytes they took."""

    texts: list[str]
    consumed_bytes: int


def split(data: bytes, *, is_final: bool) -> Lines:
    """Take the complete lines off the front; the last, unfinished one only when nothing follows."""
    *complete, rest = data.split(b"\n")
    consumed_bytes = len(data) - len(rest)
    if rest and (is_final or len(rest) > MAX_LINE_BYTES):
        complete.append(rest)
        consumed_bytes = len(data)
    return Lines([clean(line) for line in complete], consumed_bytes)


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
