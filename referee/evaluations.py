"""One attempt at an evaluation: claim it, play what is left, record, finish."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from elodrome.registry.v1.checkpoint_pb2 import Artifact, Checkpoint

from referee.agents import Agent, TrainedAgent, builtin_agent
from referee.assignment import Assignment
from referee.playing import open_game, play_episode
from trainer import platform
from trainer.checkpoint import CheckpointError
from trainer.checkpoint_store import CheckpointStore
from trainer.config import SEED_LIMIT
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

    from referee.evaluator import Evaluator
    from trainer.attempt import Attempt

# Often enough for a progress bar, seldom enough not to slow the playing down.
_SEND_INTERVAL_S = 0.5
_LARGEST_BATCH = 100


def judge(attempt: Attempt, evaluator: Evaluator, evaluation_id: str) -> Request:
    """Play until done or asked otherwise; on return everything played is recorded."""
    assignment = Assignment(evaluator, evaluation_id)
    try:
        request = _play(attempt, assignment)
        if request is Request.GO_ON:
            assignment.finish()
    except CheckpointError as error:
        assignment.finish(str(error))
        raise
    return request


def _play(attempt: Attempt, assignment: Assignment) -> Request:
    trained = _trained_agent(attempt, assignment)
    for scenario in assignment.task.scenarios:
        agent = trained or builtin_agent(assignment.task.agent, scenario)
        _play_scenario(attempt, assignment, scenario, agent)
        if attempt.request() is not Request.GO_ON:
            break
    return attempt.request()


def _play_scenario(
    attempt: Attempt, assignment: Assignment, row: SuiteScenario, agent: Agent
) -> None:
    scenario = row.scenario
    seeds = assignment.seeds_left(scenario)
    if not seeds:
        return
    metrics = list(assignment.task.metrics)
    with open_game(row, agent) as game:
        send_at = time.monotonic() + _SEND_INTERVAL_S
        for place, seed in enumerate(seeds, start=1):
            if attempt.request() is not Request.GO_ON:
                break
            assignment.add(scenario, seed, play_episode(game, agent, seed, metrics))
            _report(attempt, assignment, scenario)
            if time.monotonic() >= send_at or place % _LARGEST_BATCH == 0:
                assignment.send()
                send_at = time.monotonic() + _SEND_INTERVAL_S
    assignment.send()


def _report(attempt: Attempt, assignment: Assignment, scenario: str) -> None:
    attempt.lease.progress(
        iteration=assignment.done_count,
        max_iterations=assignment.episode_count,
        step=assignment.done_count,
        phase=f"playing {scenario}",
    )


def _trained_agent(attempt: Attempt, assignment: Assignment) -> TrainedAgent | None:
    """Fetch the checkpoint and make sure that it never saw these seeds."""
    task = assignment.task
    if task.WhichOneof("subject") == "agent":
        return None
    checkpoint = Checkpoint(id=task.checkpoint_id, artifact=Artifact(sha256=task.checkpoint_sha256))
    path = attempt.work_dir / "subject.safetensors"
    store = CheckpointStore(attempt.registry, attempt.credential, attempt.lease.run.id)
    try:
        store.download(checkpoint, path)
    except platform.RefusedError as error:
        raise CheckpointError(str(error)) from error
    agent = TrainedAgent(path)
    path.unlink()
    check_game(agent.policy.manifest.game, task.scenarios)
    check_disjoint(agent.policy.manifest.config, task.scenarios)
    return agent


def check_game(game: str, scenarios: Iterable[SuiteScenario]) -> None:
    """Refuse to judge a player on another game than its own; raises CheckpointError."""
    for scenario in scenarios:
        if scenario.game != game:
            raise CheckpointError(
                f"the checkpoint plays {game}, and scenario {scenario.scenario} is of "
                f"{scenario.game}"
            )


def check_disjoint(config: Mapping[str, object], scenarios: Iterable[SuiteScenario]) -> None:
    """Refuse to judge a player on seeds it may have trained on; raises CheckpointError.

    Training takes its seeds below SEED_LIMIT and suites from there on; both must be so. `config`
    is what it trained under; where that says `imported_from`, it trained elsewhere, in games
    that no seed of here begins.
    """
    training_seed = config.get("seed")
    is_ours = "imported_from" not in config
    in_range = isinstance(training_seed, int) and 0 <= training_seed < SEED_LIMIT
    if is_ours and not in_range:
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
