"""The evaluation a referee plays, as the evaluator keeps it: claimed, recorded, finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import evaluation_pb2
from elodrome.evaluator.v1 import referee_service_pb2 as referee_pb

from referee.playing import ENVIRONMENT_VERSION

if TYPE_CHECKING:
    from referee.evaluator import Evaluator
    from referee.playing import Measured

# Aggregating thousands of episodes takes the evaluator seconds.
FINISH_TIMEOUT_S = 60.0


class Assignment:
    """What is to be played, and where the results go."""

    def __init__(self, evaluator: Evaluator, evaluation_id: str) -> None:
        """Claim the evaluation; raises EndedError and what `trainer.platform.Retry` raises."""
        self._evaluator = evaluator
        self.evaluation_id = evaluation_id
        self._unsent: list[evaluation_pb2.Episode] = []
        message = referee_pb.ClaimEvaluationRequest(
            evaluation_id=evaluation_id, environment_version=ENVIRONMENT_VERSION
        )
        self.task = evaluator.call(
            "claiming the evaluation", evaluator.stub.ClaimEvaluation, message
        )
        self._recorded = {(key.scenario, key.seed) for key in self.task.recorded}

    @property
    def episode_count(self) -> int:
        """Episodes of the whole evaluation."""
        return sum(len(scenario.seeds) for scenario in self.task.scenarios)

    @property
    def done_count(self) -> int:
        """Episodes played so far, by this referee or an earlier one."""
        return len(self._recorded)

    def seeds_left(self, scenario: str) -> list[int]:
        """Seeds of a scenario that nobody has played yet, in the order of the suite."""
        row = next(row for row in self.task.scenarios if row.scenario == scenario)
        return [seed for seed in row.seeds if (scenario, seed) not in self._recorded]

    def add(self, scenario: str, seed: int, measured: Measured) -> None:
        """Keep an episode for the next `send`."""
        self._recorded.add((scenario, seed))
        self._unsent.append(
            evaluation_pb2.Episode(
                scenario=scenario,
                seed=seed,
                metrics=measured.metrics,
                duration_s=measured.duration_s,
            )
        )

    def send(self) -> None:
        """Record what was added; the evaluator counts each episode once."""
        if not self._unsent:
            return
        message = referee_pb.RecordEpisodesRequest(
            evaluation_id=self.evaluation_id, episodes=self._unsent
        )
        rpc = self._evaluator.stub.RecordEpisodes
        self._evaluator.call("recording episodes", rpc, message, recorded=False)
        self._unsent.clear()

    def finish(self, error: str = "") -> None:
        """End the evaluation: complete, or failed for the reason given."""
        message = referee_pb.FinishEvaluationRequest(
            evaluation_id=self.evaluation_id, error=error[:2000]
        )
        rpc = self._evaluator.stub.FinishEvaluation
        self._evaluator.call("finishing the evaluation", rpc, message, timeout_s=FINISH_TIMEOUT_S)
