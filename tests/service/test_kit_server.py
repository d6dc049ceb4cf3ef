"""A service's life, seen from outside: streams, uploads, drains, health, loops, metrics."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.accounts.v1 import edge_service_pb2 as edge_pb2
from elodrome.accounts.v1.edge_service_pb2_grpc import EdgeServiceStub
from elodrome.executor.v1 import run_service_pb2 as run_pb2
from elodrome.executor.v1.run_service_pb2_grpc import RunServiceStub
from elodrome.registry.v1 import checkpoint_service_pb2 as pb
from elodrome.registry.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY
from sqlalchemy import text

from kit import auth, errors, server
from kit.channel import Verdict
from tests.service.kit_probe import (
    Checkpoints,
    EvaluatorProbe,
    Runs,
    probe,
    refusal,
)
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.tokens import Tokens

BUILD = edge_pb2.GetBuildRequest()
TICKET = edge_pb2.CreateStreamTicketRequest()
AUDIT = edge_pb2.ListAuditEntriesRequest()


async def answer_caller() -> str:
    caller = auth.principal()
    return f"{caller.kind}:{caller.subject}"


@pytest.fixture
def environment(service_environment: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Settings without a bus, which these tests have no use for."""
    return service_environment("evaluator") | {"nats_url": ""}


@asynccontextmanager
async def serving(
    environment: dict[str, Any], behaviour: Callable[[], Awaitable[str]], **parts: Any
) -> AsyncIterator[EdgeServiceStub]:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: probe(behaviour, **parts)) as running:
        yield EdgeServiceStub(running.channel)


async def test_an_update_stream_passes_items_and_then_its_refusal(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    runs = Runs()
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: server.Parts([runs])) as running:
        call = RunServiceStub(running.channel).WatchRun(
            run_pb2.WatchRunRequest(), metadata=tokens.user()
        )
        runs.updates.put_nowait("1")
        assert (await call.read()).cursor == "1"
        runs.updates.put_nowait(errors.data_loss("the log is damaged", reason="LOG_DAMAGED"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert errors.from_call(caught.value).reason == "LOG_DAMAGED"


async def test_a_watcher_that_leaves_frees_the_stream(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    runs = Runs()
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: server.Parts([runs])) as running:
        call = RunServiceStub(running.channel).WatchRun(
            run_pb2.WatchRunRequest(), metadata=tokens.user()
        )
        runs.updates.put_nowait("1")
        await call.read()
        call.cancel()
        await asyncio.wait_for(runs.closed.wait(), 5)


async def test_a_drain_sends_watchers_elsewhere_at_once(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    runs = Runs()
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: server.Parts([runs]), grace_s=30) as running:
        # The service closes its own channel as it ends, so the caller has one of its own.
        outside = grpc.aio.insecure_channel(running.address)
        call = RunServiceStub(outside).WatchRun(run_pb2.WatchRunRequest(), metadata=tokens.user())
        runs.updates.put_nowait("1")
        await call.read()
        watching = asyncio.create_task(call.read())
        started = time.monotonic()
    assert time.monotonic() - started < 15
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watching
    assert errors.from_call(caught.value).reason == "DRAINING"
    await outside.close()


async def test_a_drain_lets_a_call_finish(environment: dict[str, Any]) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        await finish.wait()
        return "done"

    async with server.running(
        EvaluatorProbe(**environment), lambda _: probe(slow), grace_s=10
    ) as running:
        # The service closes its own channel as it ends, so the caller has one of its own.
        outside = grpc.aio.insecure_channel(running.address)
        call = EdgeServiceStub(outside).GetBuild(BUILD)
        await started.wait()
        asyncio.get_running_loop().call_later(0.3, finish.set)
    assert (await call).version == "done"
    await outside.close()


async def test_an_upload_is_refused_while_it_still_comes(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: server.Parts([Checkpoints()])) as running:
        stub = CheckpointServiceStub(running.channel)

        def upload() -> Verdict:
            pieces = (pb.UploadCheckpointRequest(data=bytes(1 << 18)) for _ in range(99))
            return Verdict(stub.UploadCheckpoint(pieces, metadata=tokens.user()))

        # Many at once, as a refusal that meets a piece on its way is what gRPC loses.
        for error in await asyncio.gather(*(refusal(upload()) for _ in range(40))):
            assert (error.reason, error.metadata["http_status"]) == ("TOO_LARGE", "413")


async def test_a_message_over_four_mebibytes_is_refused(environment: dict[str, Any]) -> None:
    async with (
        server.running(EvaluatorProbe(**environment), lambda _: probe(answer_caller)) as running,
        grpc.aio.insecure_channel(running.address) as plain,
    ):
        huge = edge_pb2.CreateStreamTicketRequest(path="x" * (5 << 20))
        error = await refusal(EdgeServiceStub(plain).CreateStreamTicket(huge))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_the_callers_mistake(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    async with (
        server.running(EvaluatorProbe(**environment), lambda _: probe(answer_caller)) as running,
        grpc.aio.insecure_channel(running.address) as plain,
    ):
        ask = plain.unary_unary("/elodrome.accounts.v1.EdgeService/CreateStreamTicket")
        for bytes_given in (b"\xff\xff\xff", b"\x0a\x01\xff"):
            error = await refusal(ask(bytes_given, metadata=tokens.user()))
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.reason == "BAD_MESSAGE"
            nobody = await refusal(ask(bytes_given))
            assert nobody.reason == "TOKEN_MISSING"


async def test_health_answers_by_service_and_reflection_lists_them(
    environment: dict[str, Any],
) -> None:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: probe(answer_caller)) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        expected = {
            "": "SERVING",
            "liveness": "SERVING",
            "elodrome.accounts.v1.EdgeService": "SERVING",
            "bus": "NOT_SERVING",
        }
        for name, status in expected.items():
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == status
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        async for answer in reflection.ServerReflectionInfo(iter([listing])):
            listed = {service.name for service in answer.list_services_response.service}
        assert "elodrome.accounts.v1.EdgeService" in listed


async def test_reflection_is_off_unless_asked_for(environment: dict[str, Any]) -> None:
    settings = EvaluatorProbe(**environment | {"reflection": False})
    async with server.running(settings, lambda _: probe(answer_caller)) as running:
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        call = stub.ServerReflectionInfo(iter([listing]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(running.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status


async def test_a_failing_loop_is_started_again(environment: dict[str, Any]) -> None:
    starts = 0

    async def fail() -> None:
        nonlocal starts
        starts += 1
        raise OSError("disk on fire")

    async with serving(environment, answer_caller, loops={"stoker": fail}):
        await eventually(lambda: starts >= 2)


async def test_finished_rpcs_are_counted_by_status(environment: dict[str, Any]) -> None:
    labels = {"rpc": "accounts.v1.EdgeService/CreateStreamTicket", "code": "UNAUTHENTICATED"}
    before = REGISTRY.get_sample_value("elodrome_rpcs_total", labels) or 0
    async with serving(environment, answer_caller) as stub:
        await refusal(stub.CreateStreamTicket(TICKET))
    assert REGISTRY.get_sample_value("elodrome_rpcs_total", labels) == before + 1


async def test_waits_in_the_database_are_bounded_and_told_as_unavailable(
    service_environment: Callable[[str], dict[str, Any]],
) -> None:
    context: server.Context

    def build(made: server.Context) -> server.Parts:
        nonlocal context
        context = made

        async def lock() -> str:
            async with context.sessions.begin() as session:
                await session.execute(text("SET LOCAL lock_timeout = '100ms'"))
                await session.execute(text("LOCK TABLE outbox"))
            return "locked"

        return probe(lock)

    settings = EvaluatorProbe(**(service_environment("evaluator") | {"nats_url": ""}))
    async with server.running(settings, build) as running:
        stub = EdgeServiceStub(running.channel)
        assert (await stub.GetBuild(BUILD)).version == "locked"
        async with context.engine.begin() as holder:
            await holder.execute(text("LOCK TABLE outbox"))
            error = await refusal(stub.GetBuild(BUILD))
        assert (error.code.name, error.reason) == ("UNAVAILABLE", "DATABASE_BUSY")
        assert error.retry_after_s == 1
