"""A reporter without a platform: everything stays in one directory and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer import checkpoint
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.checkpoint import Manifest, Tensors


class OfflineReporter:
    """Keeps checkpoints as `<iteration>.safetensors`, metrics as they come, and asks to stop.

    The request STOP comes after `stop_after` iterations, where that is given.
    """

    def __init__(self, directory: Path, *, stop_after: int | None = None) -> None:
        """Keep checkpoints in `directory`, which exists."""
        self._directory = directory
        self._stop_after = stop_after
        self._iteration = 0
        self.points: dict[str, dict[int, float]] = {}
        self.digests: dict[int, str] = {}
        self.phases: list[str] = []

    def request(self) -> Request:
        """Ask to stop once the time has come."""
        is_over = self._stop_after is not None and self._iteration >= self._stop_after
        return Request.STOP if is_over else Request.GO_ON

    def progress(self, *, iteration: int, step: int, phase: str) -> None:  # noqa: ARG002
        """Note the phases in the order they began."""
        self._iteration = iteration
        if self.phases[-1:] != [phase]:
            self.phases.append(phase)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the points; the first value of a step stays, as on the platform."""
        for name, value in values.items():
            self.points.setdefault(name, {}).setdefault(step, value)

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        """Write the file."""
        path = self.path_of(manifest.iteration)
        self.digests[manifest.iteration] = checkpoint.write(path, manifest, tensors)

    def path_of(self, iteration: int) -> Path:
        """Name the file of the checkpoint taken at an iteration."""
        return self._directory / f"{iteration}.safetensors"
