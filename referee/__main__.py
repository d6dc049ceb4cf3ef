"""One attempt at an evaluation: take the lease, claim, play what is left, record, report, exit.

Exit codes: 0 done or ended on request, 64 not started by an executor, 65 a checkpoint that cannot
be judged, 70 an error of this program, 75 the platform was away for too long, 79 a newer attempt
has taken over.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from elodrome.registry.v1.checkpoint_pb2 import Artifact, Checkpoint

from referee.agents import Agent, TrainedAgent, builtin_agent
from referee.assignment import Assignment, EndedError
from referee.playing import open_game, play_episode
from trainer import platform
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.config import SEED_LIMIT, ConfigError
from trainer.lease import Lease
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

DONE, BAD_CONFIG, BAD_INPUT, INTERNAL, TEMPORARY, FENCED = 0, 64, 65, 70, 75, 79

_EVALUATOR = "ELODROME_EVALUATOR_ADDRESS"
# Often enough for a progress bar, seldom enough not to slow the playing down.
_SEND_INTERVAL_S = 0.5
_LARGEST_BATCH = 100

logger = logging.getLogger("referee")


class Attempt:
    """This process's go at one evaluation."""

    def __init__(self, surroundings: platform.Surroundings, channels: ExitStack) -> None:
        """Take the lease."""
        self._credential = platform.Credential(surroundings.job_token)
        self._channels = channels
        self._work_dir = surroundings.work_dir
        self._registry = channels.enter_context(platform.channel(surroundings.registry_address))
        executor = channels.enter_context(platform.channel(surroundings.executor_address))
        self._told_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._told_to_end.set())
        self.lease = Lease(executor, self._credential)
        self._assignment: Assignment | None = None

    def play(self) -> Request:
        """Play until done or asked otherwise; on return everything played is recorded."""
        if _EVALUATOR not in os.environ:
            raise ConfigError(_EVALUATOR, "is not set")
        evaluator = self._channels.enter_context(platform.channel(os.environ[_EVALUATOR]))
        evaluation_id = str(self.lease.run.config["evaluation_id"])
        assignment = Assignment(evaluator, self._credential, evaluation_id)
        self._assignment = assignment
        trained = self._trained_agent(assignment)
        for scenario in assignment.task.scenarios:
            agent = trained or builtin_agent(assignment.task.agent, scenario)
            self._play_scenario(assignment, scenario.scenario, agent)
            if self._request() is not Request.GO_ON:
                return self._request()
        assignment.finish()
        return Request.GO_ON

    def fail(self, reason: str) -> None:
        """Tell the evaluator why this can never be played."""
        if self._assignment is not None:
            self._assignment.finish(reason)

    def _play_scenario(self, assignment: Assignment, scenario: str, agent: Agent) -> None:
        seeds = assignment.seeds_left(scenario)
        if not seeds:
            return
        with open_game(scenario, agent) as game:
            send_at = time.monotonic() + _SEND_INTERVAL_S
            for place, seed in enumerate(seeds, start=1):
                if self._request() is not Request.GO_ON:
                    break
                metrics = list(assignment.task.metrics)
                assignment.add(scenario, seed, play_episode(game, agent, seed, metrics))
                self._report(assignment, scenario)
                if time.monotonic() >= send_at or place % _LARGEST_BATCH == 0:
                    assignment.send()
                    send_at = time.monotonic() + _SEND_INTERVAL_S
        assignment.send()

    def _trained_agent(self, assignment: Assignment) -> TrainedAgent | None:
        """Fetch the checkpoint and make sure that it never saw these seeds."""
        task = assignment.task
        if task.WhichOneof("subject") == "agent":
            return None
        checkpoint = Checkpoint(
            id=task.checkpoint_id, artifact=Artifact(sha256=task.checkpoint_sha256)
        )
        path = self._work_dir / "subject.safetensors"
        store = CheckpointStore(self._registry, self._credential, self.lease.run.id)
        try:
            store.download(checkpoint, path)
        except platform.RefusedError as error:
            raise CheckpointError(str(error)) from error
        agent = TrainedAgent(path)
        path.unlink()
        check_disjoint(agent.policy.manifest.config.get("seed"), task.scenarios)
        return agent

    def _request(self) -> Request:
        request = self.lease.request()
        if request is Request.GO_ON and self._told_to_end.is_set():
            return Request.STOP
        return request

    def _report(self, assignment: Assignment, scenario: str) -> None:
        self.lease.progress(
            iteration=assignment.done_count,
            max_iterations=assignment.episode_count,
            step=assignment.done_count,
            phase=f"playing {scenario}",
        )


def check_disjoint(training_seed: object, scenarios: Iterable[SuiteScenario]) -> None:
    """Refuse to judge a player on seeds it may have trained on; raises CheckpointError.

    Training takes its seeds below SEED_LIMIT and suites from there on; both must be so.
    """
    if not isinstance(training_seed, int) or not 0 <= training_seed < SEED_LIMIT:
        raise CheckpointError(
            f"seed overlap: the checkpoint trained from seed {training_seed!r}, "
            f"which is not in [0, {SEED_LIMIT})"
        )
    for scenario in scenarios:
        overlap = [seed for seed in scenario.seeds if seed < SEED_LIMIT]
        if overlap:
            raise CheckpointError(
                f"seed overlap: scenario {scenario.scenario} has {overlap[0]}, a training seed"
            )


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
    except ConfigError as error:
        logger.warning("this process was not started by an executor: %s", error)
        return BAD_CONFIG


def _report(attempt: Attempt) -> int:
    """Play and end the job with what came of it."""
    try:
        request = attempt.play()
    except (platform.FencedError, platform.UnreachableError):
        raise
    except EndedError as error:
        # Not worth another attempt, and the evaluator knows already.
        outcome, reason, code = run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_INPUT
    except (ConfigError, CheckpointError) as error:
        attempt.fail(str(error))
        outcome, reason, code = run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_INPUT
    except Exception as error:
        logger.exception("the evaluation failed")
        outcome, reason, code = run_pb2.JOB_OUTCOME_CRASH, repr(error), INTERNAL
    else:
        outcome, reason, code = _ending(request)
    logger.info("ending: %s", reason)
    attempt.lease.give_back(outcome, reason, code)
    return code


def _ending(request: Request) -> tuple[run_pb2.JobOutcome, str, int]:
    if request is Request.GO_ON:
        return run_pb2.JOB_OUTCOME_COMPLETED, "all episodes are played", DONE
    return run_pb2.JOB_OUTCOME_REQUESTED, f"asked to {request.value}", DONE


if __name__ == "__main__":
    sys.exit(main())
