"""What the reconciler needs from a place where workers run; it is told names and gives facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Launch:
    """A worker to start. `name` identifies the attempt: launching it again starts nothing new."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


class Phase(Enum):
    """What a driver can see of a worker."""

    ABSENT = "absent"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Observation:
    """What is known of one worker.

    `exit_code` is None where the worker disappeared without one; 128 + n stands for signal n.
    `last_words` is the last line it printed, made safe to show.
    """

    phase: Phase
    exit_code: int | None = None
    is_out_of_memory: bool = False
    last_words: str = ""


class Driver(Protocol):
    """A place where workers run."""

    async def launch(self, launch: Launch) -> None:
        """Start a worker unless one of this name was ever started; raise OSError if it cannot."""
        ...

    async def observe(self, names: Iterable[str]) -> Mapping[str, Observation]:
        """Return what is known of each worker, also of those started before a restart."""
        ...

    async def terminate(self, name: str) -> None:
        """Ask the worker to end: SIGTERM."""
        ...

    async def reap(self, name: str) -> bool:
        """End whatever is left of the worker, at once; say whether nothing is left."""
        ...

    async def read_log(self, name: str, offset_bytes: int, limit_bytes: int) -> bytes:
        """Return what the worker printed from an offset on; empty where there is no more yet."""
        ...

    async def discard(self, name: str) -> None:
        """Remove what a reaped worker left on disk, when nobody needs its log any more."""
        ...
