"""What an algorithm tells the world while it learns, and what the world may ask of it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.checkpoint import Manifest, Tensors


class Request(enum.Enum):
    """What the algorithm is asked to do next."""

    GO_ON = "go on"
    STOP = "stop"
    PAUSE = "pause"
    CANCEL = "cancel"


class Reporter(Protocol):
    """Where metrics, progress and checkpoints go."""

    def request(self) -> Request:
        """Tell what is asked for now; asked again, it never goes back to GO_ON."""
        ...

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Note how far the training is; cheap enough for every iteration."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep one value for each series at `step`, an environment step."""
        ...

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Make a checkpoint durable before returning; `metrics` are its own."""
        ...


class Silent:
    """The reporter of a learner that does as the first one does, and leaves it all to that."""

    def request(self) -> Request:
        """Ask for nothing."""
        return Request.GO_ON

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Keep it to itself, like everything else."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Say nothing."""

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Save nothing."""
