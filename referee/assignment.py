"""The evaluation a referee plays, as the evaluator keeps it: claimed, recorded, finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
from elodrome.evaluator.v1 import evaluation_pb2
from elodrome.evaluator.v1 import referee_service_pb2 as referee_pb
from elodrome.evaluator.v1.referee_service_pb2_grpc import RefereeServiceStub

from referee.playing import ENVIRONMENT_VERSION
from trainer.platform import CALL_TIMEOUT_S, Retry, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from referee.playing import Measured
    from trainer.platform import Credential

Answer = TypeVar("Answer")

# Aggregating thousands of episodes takes the evaluator seconds.
FINISH_TIMEOUT_S = 60.0


class EndedError(Exception):
    """The evaluation has ended without this referee: it was cancelled, or its time was up."""


class Assignment:
    """What is to be played, and where the results go."""

    def __init__(self, evaluator: grpc.Channel, credential: Credential, evaluation_id: str) -> None:
        """Claim the evaluation; raises EndedError and what `trainer.platform.Retry` raises."""
        self._stub = RefereeServiceStub(evaluator)
        self._credential = credential
        self._retry = Retry()
        self.evaluation_id = evaluation_id
        self._unsent: list[evaluation_pb2.Episode] = []
        message = referee_pb.ClaimEvaluationRequest(
            evaluation_id=evaluation_id, environment_version=ENVIRONMENT_VERSION
        )
        self.task = self._call(
            "claiming the evaluation",
            lambda: self._stub.ClaimEvaluation(
                message, timeout=CALL_TIMEOUT_S, metadata=credential.metadata()
            ),
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
        self._call(
            "recording episodes",
            lambda: self._stub.RecordEpisodes(
                message,
                timeout=CALL_TIMEOUT_S,
                metadata=self._credential.metadata(recorded=False),
            ),
        )
        self._unsent.clear()

    def finish(self, error: str = "") -> None:
        """End the evaluation: complete, or failed for the reason given."""
        message = referee_pb.FinishEvaluationRequest(
            evaluation_id=self.evaluation_id, error=error[:2000]
        )
        self._call(
            "finishing the evaluation",
            lambda: self._stub.FinishEvaluation(
                message, timeout=FINISH_TIMEOUT_S, metadata=self._credential.metadata()
            ),
        )

    def _call(self, what: str, attempt: Callable[[], Answer]) -> Answer:
        def once() -> Answer:
            try:
                return attempt()
            except grpc.RpcError as error:
                if reason_of(error) == "EVALUATION_ENDED":
                    raise EndedError(error.details()) from error
                raise

        return self._retry(what, once)
