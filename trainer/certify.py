"""Repeating a part of a training: one checkpoint, the same code, and the next one's digest.

The executor compares that digest with the committed one; this program does not know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from elodrome.registry.v1.checkpoint_pb2 import Artifact, Checkpoint
from google.protobuf import json_format

from trainer import checkpoint, provenance
from trainer import config as run_config
from trainer.algorithms import opened
from trainer.attempt import Attempt, Ending
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.platform import RefusedError
from trainer.reporter import Request
from trainer.stopping import StopRules, Supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from trainer.checkpoint import Manifest, Tensors


class Digesting:
    """A reporter that keeps the digest of the checkpoint at one iteration, and nothing else."""

    def __init__(
        self,
        directory: Path,
        *,
        until: int,
        asked: Callable[[], Request],
        tell: Callable[[int, int], None],
    ) -> None:
        """Work in `directory`; `tell` takes iteration and step, `asked` says what others want."""
        self._path = directory / "replayed.safetensors"
        self.until = until
        self._asked = asked
        self._tell = tell
        self.sha256 = ""

    def request(self) -> Request:
        """Give up where anything is asked for: half a replay is worth nothing."""
        return Request.GO_ON if self._asked() is Request.GO_ON else Request.CANCEL

    def progress(self, *, iteration: int, step: int, phase: str) -> None:  # noqa: ARG002
        """Note how far it is."""
        self._tell(iteration, step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep nothing: the training has logged it already."""

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        """Write the checkpoint as the training wrote it, and keep the digest alone."""
        if manifest.iteration == self.until:
            self.sha256 = checkpoint.write(self._path, manifest, tensors)
            self._path.unlink()


def replay(start: Path, reporter: Digesting) -> None:
    """Go on from the checkpoint in `start` under its own config to the reporter's iteration.

    Raises CheckpointError or ConfigError where this program cannot go on from it.
    """
    manifest = checkpoint.read_manifest(start)
    config = run_config.parse(manifest.config)
    rules = StopRules.of(config)
    rules.restore(manifest.stopping)
    with opened(config, Supervised(reporter, rules)) as training:
        training.load(start)
        training.run(until=reporter.until)


def certify(attempt: Attempt) -> Request | Ending:
    """Repeat the interval that the run names, and report the digest it comes to."""
    interval = json_format.MessageToDict(attempt.lease.run.config)
    path = attempt.work_dir / "start.safetensors"
    _download(attempt, interval["start"], path)
    begins, until = int(interval["start"]["iteration"]), int(interval["end"]["iteration"])

    def tell(iteration: int, step: int) -> None:
        attempt.lease.progress(
            iteration=iteration - begins,
            max_iterations=until - begins,
            step=step,
            phase="replaying",
        )

    reporter = Digesting(attempt.work_dir, until=until, asked=attempt.request, tell=tell)
    with provenance.told(attempt):
        replay(path, reporter)
    asked = attempt.request()
    if not reporter.sha256 and asked is not Request.GO_ON:
        return asked
    if not reporter.sha256:
        raise CheckpointError(f"the training ends before iteration {until}")
    came_to = f"iteration {until} came to {reporter.sha256}"
    return Ending(run_pb2.JOB_OUTCOME_COMPLETED, came_to, replayed_sha256=reporter.sha256)


def _download(attempt: Attempt, start: Mapping[str, str], path: Path) -> None:
    store = CheckpointStore(attempt.registry, attempt.credential, attempt.lease.run.id)
    wanted = Checkpoint(id=start["checkpoint_id"], artifact=Artifact(sha256=start["sha256"]))
    try:
        store.download(wanted, path)
    except RefusedError as error:
        raise CheckpointError(str(error)) from error
