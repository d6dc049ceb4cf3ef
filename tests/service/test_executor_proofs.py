"""What proves a run: its certificate and the provenance of its attempts."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import lease_service_pb2, provenance_pb2, run_pb2, run_service_pb2

from tests.service.executor_bench import Bench, Leased, refusal, running_executor
from tests.service.registry_service import Registry, a_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]

COMPLETED = run_pb2.JOB_OUTCOME_COMPLETED


@asynccontextmanager
async def running(
    environment: Environment, tokens: Tokens
) -> AsyncIterator[tuple[Bench, Registry]]:
    """Run an executor, whose workers the test plays itself, and a registry."""
    async with a_registry(environment, tokens) as registry:
        peers = {"registry": registry.running.address}
        async with running_executor(environment, tokens, addresses=peers) as bench:
            yield bench, registry


async def a_trained_run(
    bench: Bench, registry: Registry, *iterations: int
) -> tuple[run_pb2.Run, list[Checkpoint]]:
    """Return a completed TRAINING run with a checkpoint at each iteration."""
    leased = await bench.acquire(await bench.create({}))
    checkpoints = [
        await registry.a_checkpoint(run_id=leased.run_id, iteration=iteration)
        for iteration in iterations
    ]
    return await leased.report(COMPLETED), checkpoints


async def the_replay(bench: Bench, run: run_pb2.Run) -> Leased:
    """Take the lease of the worker that replays for a run."""
    return await bench.acquire(await bench.get(run.certificate.certification_run_id))


async def test_a_replay_with_the_same_digest_certifies_the_run(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running(service_environment, tokens) as (bench, registry):
        run, checkpoints = await a_trained_run(bench, registry, 20, 40, 60)
        assert run.certificate.state == run_pb2.CERTIFICATE_STATE_NONE

        asked = (await bench.verb("CertifyRun", run.id, seed=7)).certificate
        _, start, end = checkpoints
        assert asked.state == run_pb2.CERTIFICATE_STATE_PENDING
        assert asked.seed == 7
        assert asked.start_checkpoint.checkpoint_id == start.id
        assert (asked.start_checkpoint.iteration, asked.end_checkpoint.iteration) == (40, 60)
        assert asked.expected_sha256 == end.artifact.sha256

        replay = await the_replay(bench, await bench.get(run.id))
        told = replay.answer.run
        assert (told.type, told.owner_id) == (run_pb2.RUN_TYPE_CERTIFICATION, run.owner_id)
        assert told.parent_run_id == run.id
        assert told.config["start"]["checkpoint_id"] == start.id
        assert told.config["end"]["sha256"] == end.artifact.sha256
        done = await replay.report(COMPLETED, replayed_sha256=end.artifact.sha256)
        assert (done.reason, done.last_error) == ("CERTIFIED", "")

        certificate = (await bench.get(run.id)).certificate
        assert certificate.state == run_pb2.CERTIFICATE_STATE_CERTIFIED
        assert certificate.replayed_sha256 == certificate.expected_sha256
        assert certificate.HasField("end_time")
        (listed,) = [item for item in await everything(bench) if item.id == run.id]
        assert listed.certificate == certificate
        assert done.certificate == certificate


async def everything(bench: Bench) -> list[run_pb2.Run]:
    answer = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=bench.user)
    return list(answer.items)


async def test_a_replay_with_another_digest_refutes_the_run_and_names_both(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running(service_environment, tokens) as (bench, registry):
        run, (_start, end) = await a_trained_run(bench, registry, 20, 40)
        run = await bench.verb("CertifyRun", run.id)
        done = await (await the_replay(bench, run)).report(COMPLETED, replayed_sha256="ab" * 32)
        assert (done.state, done.reason) == (run_pb2.RUN_STATE_COMPLETED, "REFUTED")
        for digest in ("ab" * 32, end.artifact.sha256):
            assert digest in done.last_error
        refuted = (await bench.get(run.id)).certificate
        assert refuted.state == run_pb2.CERTIFICATE_STATE_REFUTED
        assert (refuted.expected_sha256, refuted.replayed_sha256) == (
            end.artifact.sha256,
            "ab" * 32,
        )


async def test_a_replay_without_an_end_proves_nothing_and_may_be_asked_for_again(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running(service_environment, tokens) as (bench, registry):
        run, (_start, end) = await a_trained_run(bench, registry, 20, 40)
        asked = await asyncio.gather(*[bench.verb("CertifyRun", run.id) for _ in range(5)])
        assert len({one.certificate.certification_run_id for one in asked}) == 1
        replay = await the_replay(bench, asked[0])
        missing = await refusal(replay.report(COMPLETED))
        assert missing.field == "replayed_sha256"
        await replay.report(run_pb2.JOB_OUTCOME_USER_ERROR, reason="it does not fit", exit_code=65)
        failed = (await bench.get(run.id)).certificate
        assert failed.state == run_pb2.CERTIFICATE_STATE_FAILED
        assert failed.reason == "USER_ERROR"

        again = await bench.verb("CertifyRun", run.id)
        assert again.certificate.state == run_pb2.CERTIFICATE_STATE_PENDING
        assert again.certificate.certification_run_id != failed.certification_run_id
        await (await the_replay(bench, again)).report(
            COMPLETED, replayed_sha256=end.artifact.sha256
        )
        certified = (await bench.get(run.id)).certificate
        assert certified.state == run_pb2.CERTIFICATE_STATE_CERTIFIED


async def test_only_a_settled_training_with_two_checkpoints_can_be_certified(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running(service_environment, tokens) as (bench, registry):
        leased = await bench.acquire(await bench.create({}))
        running_now = await refusal(bench.verb("CertifyRun", leased.run_id))
        assert running_now.reason == "NOT_CERTIFIABLE"
        assert "RUNNING" in running_now.message
        done = await leased.report(COMPLETED)
        await registry.a_checkpoint(run_id=done.id, iteration=20)
        too_few = await refusal(bench.verb("CertifyRun", done.id))
        assert (too_few.reason, too_few.message) == (
            "NOT_CERTIFIABLE",
            "the run has fewer than two checkpoints",
        )
        external = await bench.create({}, type=run_pb2.RUN_TYPE_EXTERNAL)
        assert (await refusal(bench.verb("CertifyRun", external.id))).reason == "NOT_CERTIFIABLE"
        assert (await refusal(bench.verb("CertifyRun", done.id, seed=-1))).field == "seed"
        by_hand = await refusal(bench.create({}, type=run_pb2.RUN_TYPE_CERTIFICATION))
        assert by_hand.field == "type"
        assert (await bench.get(done.id)).certificate.state == run_pb2.CERTIFICATE_STATE_NONE


async def test_only_a_replay_may_report_a_digest(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        leased = await bench.acquire(await bench.create({}))
        error = await refusal(leased.report(COMPLETED, replayed_sha256="ab" * 32))
        assert error.field == "replayed_sha256"


async def tell(leased: Leased, **fields: Any) -> None:
    request = lease_service_pb2.ReportProvenanceRequest(
        provenance=provenance_pb2.Provenance(**fields)
    )
    await leased.bench.leases.ReportProvenance(request, metadata=leased.metadata)


async def provenance_of(bench: Bench, run_id: str, attempt: int = 0) -> provenance_pb2.Provenance:
    request = run_service_pb2.GetProvenanceRequest(run_id=run_id, attempt=attempt)
    return await bench.runs.GetProvenance(request, metadata=bench.user)


async def test_what_an_attempt_was_made_of_can_be_read(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        run = await bench.create({})
        leased = await bench.acquire(run)
        assert (await refusal(provenance_of(bench, run.id))).reason == "PROVENANCE_NOT_FOUND"
        diff = "--- a/x\n+++ b/x\n-\told\x1b\n+\tnew\n"
        await tell(leased, commit="c0ffee", dirty=True, diff=diff, packages={"torch": "2.13.0"})
        # An answer that was lost makes the worker tell again.
        await tell(leased, commit="c0ffee", dirty=True, diff=diff, packages={"torch": "2.13.0"})
        told = await provenance_of(bench, run.id)
        assert (told.run_id, told.attempt) == (run.id, 1)
        assert (told.commit, told.dirty, told.diff) == ("c0ffee", True, diff)
        assert dict(told.packages) == {"torch": "2.13.0"}
        assert told.HasField("create_time")

        await leased.report(run_pb2.JOB_OUTCOME_CRASH)
        second = await bench.acquire(run)
        await tell(second, cpu_model="the second machine")
        assert (await provenance_of(bench, run.id)).cpu_model == "the second machine"
        assert (await provenance_of(bench, run.id, 1)).commit == "c0ffee"
        late = await refusal(tell(leased, commit="f00d"))
        assert late.reason == "STALE_EPOCH"


TOO_MUCH: list[dict[str, Any]] = [
    {"diff": "x" * (256 * 1024 + 1)},
    {"diff": "é" * (128 * 1024 + 1)},
    {"diff": "\0"},
    {"commit": "a" * 201},
    {"packages": {str(number): "" for number in range(2001)}},
    {"cpu_count": -1},
]


async def test_provenance_is_bounded(service_environment: Environment, tokens: Tokens) -> None:
    async with running_executor(service_environment, tokens) as bench:
        leased = await bench.acquire(await bench.create({}))
        for fields in TOO_MUCH:
            assert (await refusal(tell(leased, **fields))).field == next(iter(fields))


async def test_proofs_of_somebody_elses_run_do_not_exist(
    service_environment: Environment, tokens: Tokens
) -> None:
    async with running_executor(service_environment, tokens) as bench:
        leased = await bench.acquire(await bench.create({}))
        await tell(leased, commit="c0ffee")
        bench.user = tokens.user(str(uuid.uuid4()))
        for call in (provenance_of(bench, leased.run_id), bench.verb("CertifyRun", leased.run_id)):
            assert (await refusal(call)).reason == "RUN_NOT_FOUND"
