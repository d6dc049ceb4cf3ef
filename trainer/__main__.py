"""One attempt at a training, or at repeating a part of one: `trainer.certify`.

Exit codes are those of `trainer.attempt`; bad input is a checkpoint that cannot be gone on from.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from google.protobuf import json_format

from trainer import checkpoint, forkserver, learners, maps, provenance
from trainer import config as run_config
from trainer.algorithms import follow, opened
from trainer.attempt import Attempt, Ending, run
from trainer.certify import certify
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.metric_stream import MetricStream
from trainer.online import OnlineReporter
from trainer.reporter import Request
from trainer.stopping import DivergedError, Reason, StopRules, Supervised

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.training import Training

_OUTCOMES = {
    Reason.TARGET_REACHED: run_pb2.JOB_OUTCOME_TARGET_REACHED,
    Reason.PLATEAU: run_pb2.JOB_OUTCOME_PLATEAU,
}

logger = logging.getLogger("trainer")


def work(attempt: Attempt) -> Request | Ending:
    """Do what the run asks for."""
    is_proof = attempt.lease.run.type == run_pb2.RUN_TYPE_CERTIFICATION
    return certify(attempt) if is_proof else train(attempt)


def train(attempt: Attempt) -> Request | Ending:
    """Go on from the last checkpoint until done, asked otherwise, or ended by a rule.

    On return everything said is durable.
    """
    config = _config(attempt)
    for warning in maps.warnings(config.to_mapping()):
        logger.warning(warning)
    metrics = MetricStream(attempt.executor, attempt.credential)
    store = CheckpointStore(attempt.registry, attempt.credential, attempt.lease.run.id)
    reporter = OnlineReporter(attempt, metrics, store, max_iterations=config.iterations)
    rules = StopRules.of(config)
    try:
        with (
            opened(config, Supervised(reporter, rules)) as training,
            provenance.told(attempt, gpu_id=config.gpu_id),
        ):
            _resume(attempt, store, reporter, rules, training)
            request = training.run()
    except DivergedError:
        metrics.close()
        raise
    metrics.close()
    if request is Request.STOP and rules.stop is not None:
        return Ending(_OUTCOMES[rules.stop.reason], rules.stop.sentence)
    return request


def _resume(
    attempt: Attempt,
    store: CheckpointStore,
    reporter: OnlineReporter,
    rules: StopRules,
    training: Training,
) -> None:
    """Claim the run and stand where its last checkpoint stands, if there is one."""
    last = store.claim()
    if last is None:
        return
    path = attempt.work_dir / "resume.safetensors"
    store.download(last, path)
    training.load(path)
    rules.restore(checkpoint.read_manifest(path).stopping)
    path.unlink()
    reporter.resumed(last)
    logger.info("going on from iteration %d", last.iteration)


def _config(attempt: Attempt) -> Config:
    """Check the run's config; its seed is the run's where it names none itself."""
    entries = json_format.MessageToDict(attempt.lease.run.config)
    return run_config.parse({"seed": attempt.lease.run.seed, **entries})


if __name__ == "__main__":
    forkserver.prepare()
    if learners.is_follower():
        sys.exit(learners.attend(follow))
    sys.exit(run(work, bad_input=(CheckpointError,)))
