"""One trace from a request to everything it brings about: calls, events, workers.

Where a trace stands travels as `traceparent` of the W3C's Trace Context: in HTTP headers, metadata
of gRPC, rows of the outbox, headers of events, and the environment of workers. Where nobody
collects spans none are made: what came is passed on as it is, and log lines carry its id.
"""

from __future__ import annotations

import random
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal["server", "consumer", "internal"]

HEADER = "traceparent"

current: ContextVar[str] = ContextVar("traceparent", default="")
"""Where the trace of the current task stands, as a `traceparent`; empty where there is none."""

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Recorder(Protocol):
    """What makes spans for a collector."""

    def start(self, name: str, kind: Kind, parent: str) -> Recorded:
        """Begin a span below a `traceparent`, or a trace where that is empty."""
        ...

    def close(self) -> None:
        """Send what is left; takes seconds at most."""
        ...


class Recorded(Protocol):
    """A span that a collector will get."""

    @property
    def traceparent(self) -> str:
        """Where the trace stands within this span."""
        ...

    def end(self, failure: str) -> None:
        """End the span; `failure` is empty where the work succeeded."""
        ...


class Span:
    """A stretch of work; a context that ends it, as failed if it raises."""

    __slots__ = ("_recorded",)

    def __init__(self, recorded: Recorded | None) -> None:
        self._recorded = recorded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.end("" if error is None else repr(error))

    def end(self, failure: str = "") -> None:
        """End the work; `failure` says what went wrong with it."""
        if self._recorded is not None:
            self._recorded.end(failure)


class _Place:
    """Where the spans of this process go: nowhere, unless `collect` said so."""

    recorder: Recorder | None = None


UNRECORDED = Span(None)
"""Work that nobody collects."""
_place = _Place()


def collect(recorder: Recorder) -> Callable[[], None]:
    """Give the spans of this process to a recorder; return what ends that."""
    _place.recorder = recorder

    def end() -> None:
        _place.recorder = None
        recorder.close()

    return end


def read(came: str) -> str:
    """Return a `traceparent` as it came, empty when it is none."""
    return came if _TRACEPARENT.fullmatch(came) else ""


def adopt(came: str) -> str:
    """Let the current task go on with the trace that came, or begin one; return where it stands."""
    stands = read(came) or _fresh()
    current.set(stands)
    return stands


def begin(name: str, kind: Kind, came: str) -> Span:
    """Begin a piece of work of the current task, in the trace that came or one of its own."""
    if _place.recorder is None:
        adopt(came)
        return UNRECORDED
    recorded = _place.recorder.start(name, kind, read(came))
    current.set(recorded.traceparent)
    return Span(recorded)


@contextmanager
def within(came: str) -> Iterator[None]:
    """Go on with the trace that came, or with none, until the block ends."""
    before = current.set(read(came))
    try:
        yield
    finally:
        current.reset(before)


def trace_id() -> str:
    """Return the id of the current task's trace, 32 hexadecimal digits; empty without one."""
    return current.get()[3:35]


def _fresh() -> str:
    """Begin a trace that nobody has to record."""
    number = random.getrandbits(192) | 1 << 64 | 1
    digits = f"{number:048x}"
    return f"00-{digits[:32]}-{digits[32:]}-00"
