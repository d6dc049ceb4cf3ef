"""One training attempt: take the lease, go on from the last checkpoint, train, report, exit.

Exit codes: 0 done or ended on request, 64 bad config, 65 bad checkpoint, 70 an error of this
program, 75 the platform was away for too long, 79 a newer attempt has taken over.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import ExitStack

from elodrome.executor.v1 import run_pb2
from google.protobuf import json_format

from trainer import config as run_config
from trainer import online, platform
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.config import Config, ConfigError
from trainer.doom import new_game
from trainer.dqn import Training
from trainer.lease import Lease
from trainer.metric_stream import MetricStream
from trainer.online import OnlineReporter
from trainer.reporter import Request
from trainer.vector import VectorGame

DONE, BAD_CONFIG, BAD_INPUT, INTERNAL, TEMPORARY, FENCED = 0, 64, 65, 70, 75, 79

logger = logging.getLogger("trainer")


class Attempt:
    """This process's go at one run."""

    def __init__(self, surroundings: platform.Surroundings, channels: ExitStack) -> None:
        """Take the lease."""
        credential = platform.Credential(surroundings.job_token)
        executor = channels.enter_context(platform.channel(surroundings.executor_address))
        registry = channels.enter_context(platform.channel(surroundings.registry_address))
        self._work_dir = surroundings.work_dir
        self._told_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._told_to_end.set())
        self.lease = Lease(executor, credential)
        self._metrics = MetricStream(executor, credential)
        self._store = CheckpointStore(registry, credential, self.lease.run.id)

    def train(self) -> Request:
        """Train until done or asked otherwise; on return everything said is durable."""
        config = self._config()
        reporter = OnlineReporter(
            self.lease,
            self._metrics,
            self._store,
            work_dir=self._work_dir,
            max_iterations=config.iterations,
            told_to_end=self._told_to_end,
        )
        last = self._store.claim()
        with VectorGame(lambda: new_game(config), config.games) as games:
            training = Training(config, games, reporter)
            if last is not None:
                path = self._work_dir / "resume.safetensors"
                self._store.download(last, path)
                training.load(path)
                path.unlink()
                self.lease.resumed(online.reference(last))
                logger.info("going on from iteration %d", last.iteration)
            request = training.run()
        self._metrics.close()
        return request

    def _config(self) -> Config:
        """Check the run's config; its seed is the run's where it names none itself."""
        entries = json_format.MessageToDict(self.lease.run.config)
        return run_config.parse({"seed": self.lease.run.seed, **entries})


def main() -> int:
    """Run one attempt; answers the exit code."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        with ExitStack() as channels:
            attempt = Attempt(platform.Surroundings.from_environment(), channels)
            return _report(attempt)
    except platform.FencedError as error:
        logger.warning("fenced: %s", error)
        return FENCED
    except platform.UnreachableError as error:
        logger.warning("giving up for now: %s", error)
        return TEMPORARY
    except platform.RefusedError as error:
        logger.warning("refused: %s", error)
        return INTERNAL
    except ConfigError as error:
        logger.warning("this process was not started by an executor: %s", error)
        return BAD_CONFIG


def _report(attempt: Attempt) -> int:
    """Train and end the job with what came of it."""
    try:
        request = attempt.train()
    except (platform.FencedError, platform.UnreachableError):
        raise
    except ConfigError as error:
        outcome, reason, code = run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_CONFIG
    except CheckpointError as error:
        outcome, reason, code = run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_INPUT
    except MemoryError as error:
        outcome, reason, code = run_pb2.JOB_OUTCOME_OUT_OF_MEMORY, str(error), INTERNAL
    except Exception as error:
        logger.exception("the training failed")
        outcome, reason, code = run_pb2.JOB_OUTCOME_CRASH, repr(error), INTERNAL
    else:
        outcome, reason, code = _ending(request)
    logger.info("ending: %s", reason)
    attempt.lease.give_back(outcome, reason, code)
    return code


def _ending(request: Request) -> tuple[run_pb2.JobOutcome, str, int]:
    if request is Request.GO_ON:
        return run_pb2.JOB_OUTCOME_COMPLETED, "all iterations are done", DONE
    return run_pb2.JOB_OUTCOME_REQUESTED, f"asked to {request.value}", DONE


if __name__ == "__main__":
    sys.exit(main())
