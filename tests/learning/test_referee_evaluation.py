"""Real evaluations: a real referee plays real Doom for a real executor, registry and evaluator."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from elodrome.evaluator.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    suite_pb2,
    suite_service_pb2,
    suite_service_pb2_grpc,
)
from elodrome.executor.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc
from elodrome.registry.v1 import checkpoint_service_pb2, checkpoint_service_pb2_grpc

from games.doom.observation import ObservationOptions
from kit import server
from services.evaluator.__main__ import build as build_evaluator
from services.evaluator.settings import EvaluatorSettings
from services.executor.__main__ import build as build_executor
from services.executor.settings import ExecutorSettings
from services.registry.__main__ import build as build_registry
from services.registry.settings import RegistrySettings
from tests.processes import is_alive
from tests.waiting import eventually
from trainer import checkpoint
from trainer.networks import QNetwork, Shape, build, describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

COMPLETED = evaluation_pb2.EVALUATION_STATE_COMPLETED
FAILED = evaluation_pb2.EVALUATION_STATE_FAILED
FIRST_SEED = 2**30


@dataclass
class Platform:
    """Three services in this process, and their workers outside of it."""

    tokens: Tokens
    user_id: str
    evaluator_settings: EvaluatorSettings
    stack: AsyncExitStack
    running: dict[str, server.Running]

    def __post_init__(self) -> None:
        self.user = self.tokens.user(self.user_id)
        self.runs = run_service_pb2_grpc.RunServiceStub(self.running["executor"].channel)
        self.checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(
            self.running["registry"].channel
        )
        self._evaluator = AsyncExitStack()

    async def start_evaluator(self, port: int = 0) -> server.Running:
        settings = self.evaluator_settings.model_copy(update={"grpc_port": port})
        running = await self._evaluator.enter_async_context(
            server.running(settings, build_evaluator)
        )
        self.evaluations = evaluation_service_pb2_grpc.EvaluationServiceStub(running.channel)
        self.suites = suite_service_pb2_grpc.SuiteServiceStub(running.channel)
        return running

    async def stop_evaluator(self) -> None:
        await self._evaluator.aclose()

    async def restart_evaluator(self) -> None:
        """Let it be gone for a moment, at the address the workers know."""
        settings = self.running["executor"].context.settings
        await self.stop_evaluator()
        await self.start_evaluator(int(settings.address_of("evaluator").rpartition(":")[2]))

    async def suite(self, count: int, scenarios: tuple[str, ...] = ("basic",)) -> suite_pb2.Suite:
        request = suite_service_pb2.CreateSuiteRequest(
            name=f"suite-{uuid.uuid4().hex[:8]}",
            scenarios=[suite_pb2.SuiteScenario(game="doom", scenario=name) for name in scenarios],
            seeds=range(FIRST_SEED, FIRST_SEED + count),
            metrics=[
                suite_pb2.SuiteMetric(name=name)
                for name in ("return", "decisions", "kills", "hits", "health", "timed_out")
            ],
        )
        return await self.suites.CreateSuite(request, metadata=self.user)

    async def start(self, suite: suite_pb2.Suite, **subject: Any) -> evaluation_pb2.Evaluation:
        request = evaluation_service_pb2.CreateEvaluationRequest(
            suite_id=suite.id, fresh=True, **subject
        )
        return await self.evaluations.CreateEvaluation(request, metadata=self.user)

    async def get(self, evaluation_id: str) -> evaluation_pb2.Evaluation:
        request = evaluation_service_pb2.GetEvaluationRequest(id=evaluation_id)
        return await self.evaluations.GetEvaluation(request, metadata=self.user)

    async def ended(self, evaluation_id: str) -> evaluation_pb2.Evaluation:
        async def over() -> evaluation_pb2.Evaluation | None:
            evaluation = await self.get(evaluation_id)
            return evaluation if evaluation.HasField("finish_time") else None

        return await eventually(over, within_s=90)

    async def played(self, evaluation_id: str, count: int) -> evaluation_pb2.Evaluation:
        """Wait until some episodes are recorded."""

        async def far_enough() -> evaluation_pb2.Evaluation | None:
            evaluation = await self.get(evaluation_id)
            return evaluation if evaluation.episodes_done >= count else None

        return await eventually(far_enough, within_s=60)

    async def run(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.GetRunRequest(id=run_id)
        return await self.runs.GetRun(request, metadata=self.user)

    async def episodes(self, evaluation_id: str) -> dict[tuple[str, int], dict[str, float]]:
        request = evaluation_service_pb2.ListEpisodesRequest(
            evaluation_id=evaluation_id, page_size=200
        )
        answer = await self.evaluations.ListEpisodes(request, metadata=self.user)
        return {(item.scenario, item.seed): dict(item.metrics) for item in answer.items}

    async def a_checkpoint(self, path: Path, *, seed: int = 7) -> str:
        """Commit a player with fresh weights, as a training run of `seed` would."""
        sha256 = checkpoint.write(path, *fresh_player(seed))
        content = await asyncio.to_thread(path.read_bytes)
        run_id = str(uuid.uuid4())
        worker = self.tokens.worker(run_id=run_id, job_id=str(uuid.uuid4()), user_id=self.user_id)

        async def pieces() -> AsyncIterator[checkpoint_service_pb2.UploadCheckpointRequest]:
            yield checkpoint_service_pb2.UploadCheckpointRequest(
                run_id=run_id, sha256=sha256, size_bytes=len(content)
            )
            for start in range(0, len(content), 200_000):
                yield checkpoint_service_pb2.UploadCheckpointRequest(
                    data=content[start : start + 200_000]
                )

        uploaded = await self.checkpoints.UploadCheckpoint(pieces(), metadata=worker)
        request = checkpoint_service_pb2.CommitCheckpointRequest(id=uploaded.id, iteration=1)
        return (await self.checkpoints.CommitCheckpoint(request, metadata=worker)).id


def fresh_player(seed: int) -> tuple[checkpoint.Manifest, dict[str, Any]]:
    options = ObservationOptions()
    shape = Shape(frames=options.space.shape, action_count=5)
    network = build(lambda: QNetwork(shape), seed=seed)
    manifest = checkpoint.Manifest(
        algorithm="DQN",
        game="doom",
        scenario="basic",
        action_combinations="move_lr;attack",
        action_count=5,
        observation_shape=options.space.shape,
        observation=asdict(options),
        frame_skip=options.frame_skip,
        recurrent=False,
        network=describe(network, shape),
        config={"seed": seed},
        iteration=1,
        steps=4,
    )
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return manifest, checkpoint.grouped(network=tensors)


@pytest.fixture
async def platform(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(
            server.running(RegistrySettings(**service_environment("registry")), build_registry)
        )
        executor_settings = ExecutorSettings(
            **service_environment("executor"),
            heartbeat_s=0.5,
            lease_expiry_s=10,
            addresses={"registry": registry.address},
        )
        executor = await stack.enter_async_context(
            server.running(executor_settings, build_executor)
        )
        addresses = {"registry": registry.address, "executor": executor.address}
        evaluator_settings = EvaluatorSettings(
            **service_environment("evaluator"), addresses=addresses, evaluation_reconcile_s=0.5
        )
        running = {"registry": registry, "executor": executor}
        made = Platform(tokens, str(uuid.uuid4()), evaluator_settings, stack, running)
        evaluator = await made.start_evaluator()
        executor_settings.addresses["executor"] = executor.address
        executor_settings.addresses["evaluator"] = evaluator.address
        yield made
        await made.stop_evaluator()


def the_referee(platform: Platform) -> psutil.Process | None:
    """The only referee of a platform that still runs; an install beside it has others."""
    ours = platform.running["executor"].address
    for process in psutil.Process().children(recursive=True):
        try:
            theirs = process.environ().get("ELODROME_EXECUTOR_ADDRESS")
            if is_alive(process) and theirs == ours and "referee" in process.cmdline():
                return process
        except psutil.NoSuchProcess:  # it has ended in between
            continue
    return None


async def test_the_same_checkpoint_and_seeds_give_the_same_episodes(
    platform: Platform, tmp_path: Path
) -> None:
    checkpoint_id = await platform.a_checkpoint(tmp_path / "player.safetensors")
    suite = await platform.suite(5, ("basic", "simpler_basic"))
    both = [await platform.start(suite, checkpoint_id=checkpoint_id) for _ in range(2)]
    first, second = [await platform.ended(evaluation.id) for evaluation in both]
    assert (first.state, first.error) == (COMPLETED, "")
    assert first.environment_version.startswith("vizdoom ")
    assert first.run_id != second.run_id
    episodes = await platform.episodes(first.id)
    assert len(episodes) == 10
    assert await platform.episodes(second.id) == episodes
    assert [row.mean for row in first.metrics] == [row.mean for row in second.metrics]
    for run_id in (first.run_id, second.run_id):

        async def run_completed(run_id: str = run_id) -> bool:
            return (await platform.run(run_id)).state == run_pb2.RUN_STATE_COMPLETED

        await eventually(run_completed)
    chance = await platform.ended((await platform.start(suite, agent="random")).id)
    assert chance.state == COMPLETED
    assert await platform.episodes(chance.id) != episodes


async def test_an_evaluation_survives_the_loss_of_referee_and_evaluator(
    platform: Platform,
) -> None:
    undisturbed = await platform.ended(
        (await platform.start(await platform.suite(100), agent="random")).id
    )
    started = await platform.start(await platform.suite(100), agent="random")
    await platform.played(started.id, 10)
    referee = the_referee(platform)
    assert referee is not None
    os.kill(referee.pid, signal.SIGKILL)
    await platform.restart_evaluator()
    ended = await platform.ended(started.id)
    assert (ended.state, ended.episodes_done) == (COMPLETED, 100)
    assert (await platform.run(ended.run_id)).attempt == 2
    assert await platform.episodes(ended.id) == await platform.episodes(undisturbed.id)
    assert [row.mean for row in ended.metrics] == [row.mean for row in undisturbed.metrics]


async def test_a_checkpoint_that_trained_among_the_suites_seeds_is_not_judged(
    platform: Platform, tmp_path: Path
) -> None:
    checkpoint_id = await platform.a_checkpoint(tmp_path / "player.safetensors", seed=FIRST_SEED)
    started = await platform.start(await platform.suite(2), checkpoint_id=checkpoint_id)
    failed = await platform.ended(started.id)
    assert failed.state == FAILED
    assert failed.error.startswith("seed overlap: the checkpoint trained from seed 1073741824")
    assert failed.episodes_done == 0

    async def run_failed() -> bool:
        run = await platform.run(failed.run_id)
        return run.state == run_pb2.RUN_STATE_FAILED and run.attempt == 1

    await eventually(run_failed)


async def test_an_evaluation_that_is_refused_is_told_on_the_run_after_its_retries(
    platform: Platform,
) -> None:
    request = run_service_pb2.CreateRunRequest(
        type=run_pb2.RUN_TYPE_EVALUATION, max_retries=1, retry_backoff_s=0.01
    )
    request.config.update({"evaluation_id": str(uuid.uuid4())})
    created = await platform.runs.CreateRun(request, metadata=platform.user)

    async def over() -> run_pb2.Run | None:
        run = await platform.run(created.id)
        return run if run.state == run_pb2.RUN_STATE_FAILED else None

    failed = await eventually(over, within_s=60)
    refusal = "attempt 2: claiming the evaluation: NOT_FOUND EVALUATION_NOT_FOUND"
    assert failed.last_error.startswith(refusal)
    assert failed.reason == "CRASH"


async def test_cancel_ends_the_referee_and_its_run(platform: Platform) -> None:
    started = await platform.start(await platform.suite(2_000), agent="random")
    running = await platform.played(started.id, 1)
    assert the_referee(platform) is not None
    request = evaluation_service_pb2.CancelEvaluationRequest(id=started.id)
    cancelled = await platform.evaluations.CancelEvaluation(request, metadata=platform.user)
    assert cancelled.state == evaluation_pb2.EVALUATION_STATE_CANCELLED
    # Five seconds are promised, to a machine that does nothing else.
    await eventually(lambda: the_referee(platform) is None, within_s=20)

    async def run_cancelled() -> bool:
        return (await platform.run(running.run_id)).state == run_pb2.RUN_STATE_CANCELLED

    await eventually(run_cancelled)
