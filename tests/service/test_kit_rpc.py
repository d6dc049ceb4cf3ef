"""What every RPC passes, seen from outside: caller, rule, deadline, errors, peers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.accounts.v1 import edge_service_pb2 as edge_pb2
from elodrome.accounts.v1.edge_service_pb2_grpc import EdgeServiceStub
from elodrome.executor.v1 import lease_service_pb2
from elodrome.registry.v1 import checkpoint_service_pb2 as checkpoint_pb2
from elodrome.registry.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub

from kit import auth, channel, errors, log, rpc, rule, server
from tests.service.kit_probe import (
    Checkpoints,
    EvaluatorProbe,
    RegistryProbe,
    probe,
    refusal,
)

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


async def test_an_open_rpc_takes_nobody_and_somebody_but_no_false_token(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    async with serving(environment, answer_caller) as stub:
        assert (await stub.GetBuild(BUILD)).version == "anonymous:"
        anna = tokens.user("anna")
        assert (await stub.GetBuild(BUILD, metadata=anna)).version == "user:anna"
        forged = [("authorization", "Bearer e30.e30.e30")]
        assert (await refusal(stub.GetBuild(BUILD, metadata=forged))).reason == "TOKEN_INVALID"


async def test_a_closed_rpc_wants_a_token_a_role_and_a_scope(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    async with serving(environment, answer_caller) as stub:
        cases = [
            (stub.CreateStreamTicket(TICKET), "UNAUTHENTICATED", "TOKEN_MISSING"),
            (
                stub.CreateStreamTicket(TICKET, metadata=[("authorization", "Basic YTpi")]),
                "UNAUTHENTICATED",
                "TOKEN_MISSING",
            ),
            (
                stub.CreateStreamTicket(TICKET, metadata=tokens.service("registry")),
                "PERMISSION_DENIED",
                "ROLE_MISSING",
            ),
            (
                stub.ListAuditEntries(AUDIT, metadata=tokens.user()),
                "PERMISSION_DENIED",
                "ROLE_MISSING",
            ),
            (
                stub.CreateStreamTicket(TICKET, metadata=tokens.user(scopes=frozenset({"TRAIN"}))),
                "PERMISSION_DENIED",
                "SCOPE_MISSING",
            ),
        ]
        for call, status, reason in cases:
            error = await refusal(call)
            assert (error.code.name, error.reason) == (status, reason)
        signed_in = tokens.user("anna", scopes=frozenset())
        assert (await stub.CreateStreamTicket(TICKET, metadata=signed_in)).ticket == "user:anna"
        assert (await stub.ListAuditEntries(AUDIT, metadata=tokens.admin())).next_page_token


def test_an_rpc_without_a_rule_is_for_nobody() -> None:
    admin = auth.Principal(kind="user", subject="root", roles=frozenset({"ADMIN"}))
    with pytest.raises(errors.RpcError, match="NO_RULE"):
        rule.check("/grpc.health.v1.Health/Check", admin)
    with pytest.raises(errors.RpcError, match="NO_RULE"):
        rule.check("/elodrome.accounts.v1.EdgeService/NoSuchMethod", admin)


async def test_a_worker_without_a_lease_may_only_acquire_one(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: server.Parts([Checkpoints()])) as running:
        stub = CheckpointServiceStub(running.channel)
        piece = checkpoint_pb2.UploadCheckpointRequest(data=b"x")
        leased = tokens.worker(run_id="r", job_id="j", epoch=1)
        assert (await stub.UploadCheckpoint(iter([piece]), metadata=leased)).iteration == 1
        bootstrap = tokens.worker(run_id="r", job_id="j", epoch=0)
        error = await refusal(stub.UploadCheckpoint(iter([piece]), metadata=bootstrap))
        assert error.reason == "LEASE_REQUIRED"
        service = lease_service_pb2.DESCRIPTOR.services_by_name["LeaseService"].full_name
        caller = auth.Principal(kind="worker", subject="j", roles=frozenset({"WORKER"}))
        rule.check(f"/{service}/AcquireLease", caller)
        with pytest.raises(errors.RpcError, match="LEASE_REQUIRED"):
            rule.check(f"/{service}/Heartbeat", caller)


async def test_a_refusal_arrives_with_reason_field_and_metadata(
    environment: dict[str, Any],
) -> None:
    async def refuse() -> str:
        raise errors.invalid_argument("seed", "must lie in 0..9", maximum=9)

    async with serving(environment, refuse) as stub:
        error = await refusal(stub.GetBuild(BUILD))
        assert str(error) == "INVALID_ARGUMENT INVALID_FIELD: seed: must lie in 0..9"
        assert (error.field, error.metadata) == ("seed", {"maximum": "9"})


async def test_a_bug_tells_the_caller_nothing_but_its_request_id(
    environment: dict[str, Any],
) -> None:
    async def fail() -> str:
        raise KeyError("password=hunter2")

    async with serving(environment, fail) as stub:
        call = stub.GetBuild(BUILD, metadata=[("x-request-id", "req-7")])
        error = await refusal(call)
        assert str(error) == "INTERNAL INTERNAL: internal error"
        assert error.metadata == {"request_id": "req-7"}
        assert dict(await call.trailing_metadata())["x-request-id"] == "req-7"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>", ""])
async def test_a_strange_request_id_is_replaced(environment: dict[str, Any], given: str) -> None:
    async def echo() -> str:
        return log.request_id.get()

    async with serving(environment, echo) as stub:
        answer = await stub.GetBuild(BUILD, metadata=[("x-request-id", given)])
        assert answer.version != given
        assert len(answer.version) == 32


async def test_a_unary_rpc_ends_although_its_caller_sets_no_deadline(
    environment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "UNARY_LIMIT_S", 0.2)
    cancelled = asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    async with server.running(EvaluatorProbe(**environment), lambda _: probe(hang)) as running:
        async with grpc.aio.insecure_channel(running.address) as plain:
            error = await refusal(EdgeServiceStub(plain).GetBuild(BUILD))
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert cancelled.is_set()


async def test_a_handler_ends_when_its_caller_hangs_up(environment: dict[str, Any]) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    async with serving(environment, hang) as stub:
        call = stub.GetBuild(BUILD)
        await started.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_deadline_and_request_id_travel_to_the_peer(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    seen: dict[str, Any] = {}

    async def remember() -> str:
        seen.update(
            left_s=rpc.time_left(),
            request_id=log.request_id.get(),
            caller=auth.principal(),
        )
        return ""

    async with server.running(EvaluatorProbe(**environment), lambda _: probe(remember)) as peer:
        settings = RegistryProbe(**environment, addresses={"evaluator": peer.address})

        def build(context: server.Context) -> server.Parts:
            async def forward() -> str:
                stub = EdgeServiceStub(context.channel("evaluator"))
                await stub.GetBuild(BUILD, metadata=context.call_metadata(on_behalf_of="anna"))
                return ""

            return probe(forward)

        async with server.running(settings, build) as running:
            stub = EdgeServiceStub(running.channel)
            metadata = [("x-request-id", "req-9"), *tokens.user("anna")]
            await stub.GetBuild(BUILD, timeout=3, metadata=metadata)
    assert 0 < seen["left_s"] < 3
    assert seen["request_id"] == "req-9"
    assert (seen["caller"].subject, seen["caller"].user_id) == ("registry", "anna")


async def test_a_peers_refusal_is_passed_on_and_a_dead_peer_is_unavailable(
    environment: dict[str, Any],
) -> None:
    async def refuse() -> str:
        raise errors.not_found("model", "7")

    def build(context: server.Context) -> server.Parts:
        async def forward() -> str:
            stub = EdgeServiceStub(context.channel("evaluator"))
            await stub.GetBuild(BUILD, metadata=context.call_metadata())
            return ""

        return probe(forward)

    async with server.running(EvaluatorProbe(**environment), lambda _: probe(refuse)) as peer:
        settings = RegistryProbe(**environment, addresses={"evaluator": peer.address})
        async with server.running(settings, build) as running:
            stub = EdgeServiceStub(running.channel)
            assert (await refusal(stub.GetBuild(BUILD))).reason == "MODEL_NOT_FOUND"
    dead = RegistryProbe(**environment, addresses={"evaluator": "127.0.0.1:9"})
    async with server.running(dead, build) as running:
        started = time.monotonic()
        error = await refusal(EdgeServiceStub(running.channel).GetBuild(BUILD, timeout=30))
        assert (error.code.name, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
        assert time.monotonic() - started < 20


async def test_a_peer_that_came_back_is_used_again_soon(
    environment: dict[str, Any],
) -> None:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: probe(answer_caller)) as first:
        patient = channel.open_channel(first.address)
        stub = EdgeServiceStub(patient)
        await stub.GetBuild(BUILD)
    again = EvaluatorProbe(**(environment | {"grpc_port": first.port}))
    async with server.running(again, lambda _: probe(answer_caller)):
        started = time.monotonic()
        await stub.GetBuild(BUILD)
        assert time.monotonic() - started < 10
    await patient.close()


async def test_a_reading_call_is_retried_and_a_writing_call_is_not(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    calls = 0

    async def fail_twice() -> str:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise errors.unavailable("starting")
        return "ready"

    async with serving(environment, fail_twice) as stub:
        assert (await stub.GetBuild(BUILD)).version == "ready"
        assert calls == 3
        calls = 0
        error = await refusal(stub.CreateStreamTicket(TICKET, metadata=tokens.user()))
        assert (error.code.name, calls) == ("UNAVAILABLE", 1)
