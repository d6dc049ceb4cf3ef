"""Server-sent events as the HTML standard defines them: bytes in, events out."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class ServerEvent:
    """One event. `id` is where to resume after it; empty when the stream never gave one."""

    id: str
    event: str
    data: str


class EventParser:
    """Splits a stream into events; `last_event_id` and `retry_s` are what it has said so far."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_s: float | None = None
        self._event = ""
        self._data: list[str] = []

    def parse(self, chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
        """Yield each event as soon as its empty line has come.

        An event that the end of the stream cuts off is dropped, as the standard says.
        """
        for line in split_lines(chunks):
            if line:
                self._take(line)
            elif (event := self._dispatch()) is not None:
                yield event

    def restart(self) -> None:
        """Forget the event that a broken stream cut off; the next stream sends it again."""
        self._event, self._data = "", []

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_event_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_s = int(value) / 1_000
            # An empty name is a comment, and unknown fields are to be ignored.

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        if not data:
            return None
        return ServerEvent(self.last_event_id, event or "message", "\n".join(data))


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Split UTF-8 bytes into lines that end with LF, CR or CRLF; a cut-off last line is dropped.

    `str.splitlines` would also split at U+2028, which may stand within JSON.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pending, at_start = "", True
    for chunk in chunks:
        pending += decoder.decode(chunk)
        if at_start and pending:
            pending, at_start = pending.removeprefix("\ufeff"), False
        # A CR at the end may be half of a CRLF.
        ready, held = (pending[:-1], "\r") if pending.endswith("\r") else (pending, "")
        *lines, rest = ready.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield from lines
        pending = rest + held
    if pending.endswith("\r"):
        yield pending[:-1]
