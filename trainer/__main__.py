"""One attempt at a training: go on from the last checkpoint, train, report to the platform.

Exit codes are those of `trainer.attempt`; bad input is a checkpoint that cannot be gone on from.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from google.protobuf import json_format

from trainer import config as run_config
from trainer import forkserver, online
from trainer.attempt import Attempt, run
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.metric_stream import MetricStream
from trainer.online import OnlineReporter

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.reporter import Request

logger = logging.getLogger("trainer")


def train(attempt: Attempt) -> Request:
    """Train until done or asked otherwise; on return everything said is durable."""
    config = _config(attempt)
    metrics = MetricStream(attempt.executor, attempt.credential)
    store = CheckpointStore(attempt.registry, attempt.credential, attempt.lease.run.id)
    reporter = OnlineReporter(attempt, metrics, store, max_iterations=config.iterations)
    last = store.claim()
    # Torch takes a second to load, which a run that is refused need not wait for.
    from trainer.algorithms import opened  # noqa: PLC0415

    with opened(config, reporter) as training:
        if last is not None:
            path = attempt.work_dir / "resume.safetensors"
            store.download(last, path)
            training.load(path)
            path.unlink()
            attempt.lease.resumed(online.reference(last))
            logger.info("going on from iteration %d", last.iteration)
        request = training.run()
    metrics.close()
    return request


def _config(attempt: Attempt) -> Config:
    """Check the run's config; its seed is the run's where it names none itself."""
    entries = json_format.MessageToDict(attempt.lease.run.config)
    return run_config.parse({"seed": attempt.lease.run.seed, **entries})


if __name__ == "__main__":
    forkserver.prepare()
    sys.exit(run(train, bad_input=(CheckpointError,)))
