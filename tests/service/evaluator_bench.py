"""A running evaluator with what its tests do again and again."""

from __future__ import annotations

import random
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from elodrome.evaluator.v1 import (
    evaluation_pb2,
    evaluation_service_pb2_grpc,
    gate_service_pb2_grpc,
    referee_service_pb2_grpc,
    suite_pb2,
    suite_service_pb2_grpc,
)
from elodrome.evaluator.v1 import (
    evaluation_service_pb2 as evaluations,
)
from elodrome.evaluator.v1 import (
    referee_service_pb2 as referee,
)
from elodrome.evaluator.v1 import (
    suite_service_pb2 as suites,
)

from kit import errors, server
from services.evaluator.__main__ import build
from services.evaluator.settings import EvaluatorSettings
from tests.service.evaluator_peers import Peers, running_peers
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Metadata, Tokens

FIRST_SEED = 2**30


def seeds(count: int) -> list[int]:
    return [FIRST_SEED + number for number in range(count)]


def scenario(name: str = "basic", **fields: Any) -> suite_pb2.SuiteScenario:
    return suite_pb2.SuiteScenario(game="doom", scenario=name, **fields)


@dataclass
class Bench:
    """One user at one evaluator."""

    running: server.Running
    peers: Peers
    tokens: Tokens
    user_id: str

    def __post_init__(self) -> None:
        channel = self.running.channel
        self.suites = suite_service_pb2_grpc.SuiteServiceStub(channel)
        self.evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        self.gates = gate_service_pb2_grpc.GateServiceStub(channel)
        self.referee = referee_service_pb2_grpc.RefereeServiceStub(channel)
        self.user: Metadata = self.tokens.user(self.user_id)

    async def suite(self, count: int = 4, **fields: Any) -> suite_pb2.Suite:
        request = {
            "name": f"suite-{uuid.uuid4().hex[:8]}",
            "scenarios": [scenario()],
            "seeds": seeds(count),
            **fields,
        }
        return await self.suites.CreateSuite(
            suites.CreateSuiteRequest(**request), metadata=self.user
        )

    async def start(self, suite: suite_pb2.Suite, **fields: Any) -> evaluation_pb2.Evaluation:
        if "checkpoint_id" not in fields:
            fields = {"agent": "random", **fields}
        request = evaluations.CreateEvaluationRequest(suite_id=suite.id, **fields)
        return await self.evaluations.CreateEvaluation(request, metadata=self.user)

    async def get(self, evaluation_id: str) -> evaluation_pb2.Evaluation:
        request = evaluations.GetEvaluationRequest(id=evaluation_id)
        return await self.evaluations.GetEvaluation(request, metadata=self.user)

    async def in_state(self, evaluation_id: str, state: int) -> evaluation_pb2.Evaluation:
        async def reached() -> evaluation_pb2.Evaluation | None:
            evaluation = await self.get(evaluation_id)
            return evaluation if evaluation.state == state else None

        return await eventually(reached)

    async def worker(self, evaluation_id: str, epoch: int = 1) -> Metadata:
        """The token of the evaluation's run, once it has one."""

        async def run_id() -> str:
            return (await self.get(evaluation_id)).run_id

        return self.tokens.worker(
            run_id=await eventually(run_id), job_id=str(uuid.uuid4()), epoch=epoch
        )

    async def claim(
        self, evaluation_id: str, worker: Metadata, engine: str = "vizdoom 1"
    ) -> referee.ClaimEvaluationResponse:
        request = referee.ClaimEvaluationRequest(
            evaluation_id=evaluation_id, environment_version=engine
        )
        return await self.referee.ClaimEvaluation(request, metadata=worker)

    async def record(
        self, evaluation_id: str, worker: Metadata, episodes: list[evaluation_pb2.Episode]
    ) -> referee.RecordEpisodesResponse:
        request = referee.RecordEpisodesRequest(evaluation_id=evaluation_id, episodes=episodes)
        return await self.referee.RecordEpisodes(request, metadata=worker)

    async def finish(
        self, evaluation_id: str, worker: Metadata, error: str = ""
    ) -> evaluation_pb2.Evaluation:
        request = referee.FinishEvaluationRequest(evaluation_id=evaluation_id, error=error)
        return await self.referee.FinishEvaluation(request, metadata=worker)

    async def play(
        self, evaluation: evaluation_pb2.Evaluation, mean: float = 50, engine: str = "vizdoom 1"
    ) -> evaluation_pb2.Evaluation:
        """Play an evaluation to its end with returns around `mean`, as a referee would."""
        worker = await self.worker(evaluation.id)
        task = await self.claim(evaluation.id, worker, engine)
        await self.record(evaluation.id, worker, episodes_of(task, mean))
        return await self.finish(evaluation.id, worker)

    async def evaluated(
        self, suite: suite_pb2.Suite, mean: float = 50, **fields: Any
    ) -> evaluation_pb2.Evaluation:
        return await self.play(await self.start(suite, **fields), mean)


def episodes_of(
    task: referee.ClaimEvaluationResponse, mean: float = 50
) -> list[evaluation_pb2.Episode]:
    """Every episode of a task, with returns that differ by seed around `mean`."""
    return [
        evaluation_pb2.Episode(
            scenario=row.scenario,
            seed=seed,
            metrics={
                name: mean + random.Random(f"{name}{seed}").gauss(0, 8) for name in task.metrics
            },
            duration_s=0.1,
        )
        for row in task.scenarios
        for seed in row.seeds
    ]


async def refusal(call: Any) -> errors.RpcError:
    """The refusal of a call that must not succeed."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return errors.from_call(error)
    raise AssertionError("the call was not refused")


@asynccontextmanager
async def running_bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens,
    **settings: Any,
) -> AsyncIterator[Bench]:  # fmt: skip
    async with running_peers(keys_dir) as peers:
        addresses = {"registry": peers.address, "executor": peers.address}
        configured = EvaluatorSettings(
            **service_environment("evaluator"),
            addresses=addresses,
            **{"evaluation_reconcile_s": 0.2, **settings},
        )
        async with server.running(configured, build) as running:
            yield Bench(running, peers, tokens, str(uuid.uuid4()))
