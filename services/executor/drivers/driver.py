"""What the reconciler needs from a place where workers run; it is told names and gives facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from services.executor.resources import Resources
from services.executor.states import RunType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True)
class Launch:
    """A worker to start. `name` identifies the attempt: launching it again starts nothing new.

    Only the worker may read `secrets`, which are variables of its environment too. `deadline_s` is
    when the place ends a worker by itself, for the case that no executor is left to do it; None is
    never. `learners` is how many processes learn together, which a place may have start apart; the
    first of them is the worker. `resources` are those of each. `seats` is how many sandboxes a
    referee needs for code that nobody trusts, and `subject_id` the match or submission that it is
    about. The other fields say whose worker it is.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    kind: RunType = RunType.TRAINING
    run_id: str = ""
    attempt: int = 1
    owner_id: str = ""
    deadline_s: float | None = None
    learners: int = 1
    seats: int = 0
    subject_id: str = ""
    resources: Resources = field(default_factory=Resources)


class Phase(Enum):
    """What a driver can see of a worker."""

    ABSENT = "absent"
    WAITING = "waiting"
    """Not started yet as far as the driver knows: it queues, or its image is being fetched."""
    RUNNING = "running"
    EXITED = "exited"


class Fault(Enum):
    """What a place knows about why a worker ended, or does not start, beyond an exit code."""

    OUT_OF_MEMORY = "out of memory"
    DEADLINE = "deadline"
    EVICTED = "evicted"
    IMAGE_PULL = "image pull"


@dataclass(frozen=True)
class Observation:
    """What is known of one worker.

    `start_time` is when it began, where that may be later than its launch. `exit_code` is None
    where the worker disappeared without one; 128 + n stands for signal n.
    `detail` is what the place says about the fault. `last_words` is the last line that the worker
    printed. Both are safe to show.
    """

    phase: Phase
    exit_code: int | None = None
    fault: Fault | None = None
    detail: str = ""
    last_words: str = ""
    start_time: datetime | None = None


class Driver(Protocol):
    """A place where workers run."""

    async def check(self) -> None:
        """Raise what says why no worker could be started now."""
        ...

    async def launch(self, launch: Launch) -> None:
        """Start a worker unless one of this name was ever started.

        One that was started and still waits gets the new secrets. Raises OSError when it cannot be
        started; a place that does not answer is no such case: the worker stays ABSENT.
        """
        ...

    async def observe(self, names: Iterable[str]) -> Mapping[str, Observation]:
        """Return what is known of each worker, also of those started before a restart."""
        ...

    async def inspect(self, name: str) -> Observation:
        """Return what is known of a worker at this moment, though it may have to be asked for."""
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
        """Remove what a reaped worker left behind, when nobody needs its log any more."""
        ...
