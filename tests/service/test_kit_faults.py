"""Dependencies and processes are killed at the worst moments: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import httpx
import psutil
import pytest
from elodrome.accounts.v1.edge_service_pb2 import CreateStreamTicketRequest, GetBuildRequest
from elodrome.accounts.v1.edge_service_pb2_grpc import EdgeServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import text

from deploy.laptop.ports import free_port
from deploy.laptop.postgres import RunningPostgres, as_system_user, start_postgres, wait_ready
from kit import channel, db, migrate, server
from tests.service.kit_probe import EvaluatorProbe, RegistryProbe, probe, refusal
from tests.service.kit_program import build_evaluator, build_registry, effects, program
from tests.waiting import eventually, eventually_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from deploy.laptop.broker import RunningBroker
    from tests.tokens import Metadata, Tokens

Environment = "Callable[[str], dict[str, Any]]"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_LIMIT_S = 20
"""Well before the callers of these tests give up, after 30 s; a busy machine takes its time."""


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[EdgeServiceStub]:
    async with channel.open_channel(address) as opened:
        yield EdgeServiceStub(opened)


async def ticket(stub: EdgeServiceStub, path: str, metadata: Metadata) -> None:
    await stub.CreateStreamTicket(CreateStreamTicketRequest(path=path), metadata=metadata)


async def until_answering(stub: EdgeServiceStub, process: subprocess.Popen[str]) -> None:
    async def answers() -> bool:
        assert process.poll() is None, process.communicate()[1]
        error = await refusal(stub.GetBuild(GetBuildRequest(), timeout=1))
        return error.code.name == "UNIMPLEMENTED"

    await eventually(answers, within_s=30)


async def ended(process: subprocess.Popen[str]) -> int:
    return await eventually(lambda: process.poll() or None, within_s=20)


async def test_an_event_published_by_a_relay_that_dies_before_noting_it_has_one_effect(
    service_environment: Environment, tokens: Tokens
) -> None:
    port = free_port()
    settings = service_environment("evaluator") | {"grpc_port": port}
    consuming = RegistryProbe(**service_environment("registry"))
    async with server.running(consuming, build_registry) as registry:
        async with caller(f"127.0.0.1:{port}") as stub:
            killing = {"ELODROME_FAILPOINT": "outbox.after_publish:kill@1"}
            with program("evaluator", settings, **killing) as doomed:
                await until_answering(stub, doomed)
                await ticket(stub, "first", tokens.user())
                assert await ended(doomed) == -signal.SIGKILL
            with program("evaluator", settings) as again:
                await until_answering(stub, again)
                await ticket(stub, "second", tokens.user())

                async def both() -> bool:
                    return len(await effects(registry.context.sessions)) >= 2

                await eventually(both)
        assert await effects(registry.context.sessions) == ["first", "second"]


async def test_an_event_whose_consumer_dies_before_acknowledging_has_one_effect(
    service_environment: Environment, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = service_environment("registry")
    killing = {"ELODROME_FAILPOINT": "consumer.after_commit:kill@1"}
    emitting = EvaluatorProbe(**service_environment("evaluator"))
    async with server.running(emitting, build_evaluator) as evaluator:
        with program("registry", settings, **killing) as doomed:
            await ticket(EdgeServiceStub(evaluator.channel), "first", tokens.user())
            assert await ended(doomed) == -signal.SIGKILL
        async with server.running(RegistryProbe(**settings), build_registry) as registry:
            await ticket(EdgeServiceStub(evaluator.channel), "second", tokens.user())

            async def second() -> bool:
                return "second" in await effects(registry.context.sessions)

            # The bus holds it back until it no longer waits for the first to be acknowledged.
            await eventually(second, within_s=25)
            assert await effects(registry.context.sessions) == ["first", "second"]


async def test_the_bus_dies_and_comes_back_while_writes_go_on(
    service_environment: Environment, tokens: Tokens, nats_server: RunningBroker
) -> None:
    emitting = EvaluatorProbe(**service_environment("evaluator"))
    consuming = RegistryProbe(**service_environment("registry"))
    async with (
        server.running(emitting, build_evaluator) as evaluator,
        server.running(consuming, build_registry) as registry,
    ):
        stub = EdgeServiceStub(evaluator.channel)
        health = health_pb2_grpc.HealthStub(evaluator.channel)

        async def bus_is(status: int) -> bool:
            request = health_pb2.HealthCheckRequest(service="bus")
            return (await health.Check(request)).status == status

        await ticket(stub, "before", tokens.user())
        await eventually(lambda: bus_is(SERVING))
        nats_server.kill()
        try:
            await eventually(lambda: bus_is(NOT_SERVING))
            for number in range(20):
                await ticket(stub, f"during-{number}", tokens.user())
            ready = await health.Check(health_pb2.HealthCheckRequest())
            assert ready.status == SERVING
        finally:
            restart(nats_server)

        async def all_took_effect() -> bool:
            return len(await effects(registry.context.sessions)) >= 21

        await eventually(all_took_effect)
        expected = ["before", *(f"during-{number}" for number in range(20))]
        assert await effects(registry.context.sessions) == expected


def restart(broker: RunningBroker) -> None:
    """Start the killed server again over its own files, port and passwords."""
    broker.child = subprocess.Popen(
        broker.broker.command(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually_sync(broker.broker.ready)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[RunningPostgres]:
    """A Postgres that a test may kill."""
    running = start_postgres(tmp_path, settings={"fsync": "off"})
    migrate.upgrade(running.url("evaluator"), "evaluator")
    yield running
    running.kill()


def start_again(killed: RunningPostgres) -> None:
    killed.postgres.clear_leftovers()
    log = killed.postgres.home / "postgres.log"
    with log.open("ab") as output:
        killed.child = subprocess.Popen(
            killed.postgres.command(),
            cwd=killed.postgres.home / "postgres",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **as_system_user(),
        )
    wait_ready(killed.postgres, psutil.Process(killed.child.pid), log)


async def test_a_killed_database_is_told_as_unavailable_and_healed(
    own_postgres: RunningPostgres, keys_dir: Path
) -> None:
    context: server.Context

    def build(made: server.Context) -> server.Parts:
        nonlocal context
        context = made

        async def ask() -> str:
            async with context.sessions() as session:
                return str(await session.scalar(text("SELECT 'up'")))

        return probe(ask)

    settings = EvaluatorProbe(
        database_url=own_postgres.url("evaluator"), keys_dir=keys_dir, grpc_port=0
    )
    async with server.running(settings, build) as running:
        stub = EdgeServiceStub(running.channel)
        health = health_pb2_grpc.HealthStub(running.channel)

        async def status_of(service: str) -> int:
            return (await health.Check(health_pb2.HealthCheckRequest(service=service))).status

        assert (await stub.GetBuild(GetBuildRequest())).version == "up"
        own_postgres.kill()
        started = time.monotonic()
        error = await refusal(stub.GetBuild(GetBuildRequest(), timeout=30))
        assert (error.code.name, error.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        assert time.monotonic() - started < _LIMIT_S
        assert error.retry_after_s

        async def not_ready() -> bool:
            return await status_of("") == NOT_SERVING

        await eventually(not_ready)
        assert await status_of("liveness") == SERVING
        start_again(own_postgres)

        async def ready() -> bool:
            return await status_of("") == SERVING

        await eventually(ready)
        assert (await stub.GetBuild(GetBuildRequest())).version == "up"


async def test_a_database_that_hangs_is_told_as_unavailable_before_its_callers_give_up(
    own_postgres: RunningPostgres, keys_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if no connection had been used for a while.
    monkeypatch.setattr(db, "BELIEVED_S", 0)

    def build(context: server.Context) -> server.Parts:
        async def ask() -> str:
            async with context.sessions() as session:
                return str(await session.scalar(text("SELECT 'up'")))

        return probe(ask)

    settings = EvaluatorProbe(
        database_url=own_postgres.url("evaluator"), keys_dir=keys_dir, grpc_port=0
    )
    async with (
        server.running(settings, build) as running,
        grpc.aio.insecure_channel(running.address) as plain,
    ):
        stub = EdgeServiceStub(plain)

        async def timed() -> tuple[str, float]:
            started = time.monotonic()
            error = await refusal(stub.GetBuild(GetBuildRequest(), timeout=30))
            return error.reason, time.monotonic() - started

        await asyncio.gather(*(stub.GetBuild(GetBuildRequest()) for _ in range(5)))
        server_process = psutil.Process(own_postgres.pid)
        frozen = [server_process, *server_process.children(recursive=True)]
        for process in frozen:
            process.suspend()
        try:
            answers = await asyncio.gather(*(timed() for _ in range(12)))
        finally:
            for process in frozen:
                process.resume()
        assert {reason for reason, _ in answers} == {"DATABASE_UNAVAILABLE"}
        assert max(seconds for _, seconds in answers) < _LIMIT_S
        assert (await stub.GetBuild(GetBuildRequest())).version == "up"


async def test_cancelled_requests_leave_no_connection_behind(
    service_environment: Environment,
) -> None:
    context: server.Context

    def build(made: server.Context) -> server.Parts:
        nonlocal context
        context = made

        async def ask() -> str:
            async with context.sessions.begin() as session:
                await session.execute(text("SELECT pg_sleep(0.01)"))
                return str(await session.scalar(text("SELECT 'up'")))

        return probe(ask)

    settings = EvaluatorProbe(**(service_environment("evaluator") | {"nats_url": ""}))
    async with server.running(settings, build) as running:
        stub = EdgeServiceStub(running.channel)
        chance = random.Random(7)
        for _ in range(20):
            calls = [stub.GetBuild(GetBuildRequest()) for _ in range(8)]
            await asyncio.sleep(chance.uniform(0, 0.03))
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        async def none_checked_out() -> bool:
            return context.engine.pool.checkedout() == 0

        await eventually(none_checked_out)
        async with context.sessions() as session:
            idle = await session.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
                    " AND state LIKE 'idle in transaction%'"
                )
            )
        assert idle == 0
        assert (await stub.GetBuild(GetBuildRequest())).version == "up"


async def test_a_program_drains_on_sigterm_and_shows_its_metrics(
    service_environment: Environment, tokens: Tokens
) -> None:
    port, metrics = free_port(), free_port()
    settings = service_environment("evaluator") | {"grpc_port": port, "metrics_port": metrics}
    with program("evaluator", settings) as process:
        async with caller(f"127.0.0.1:{port}") as stub:
            await until_answering(stub, process)
            await ticket(stub, "first", tokens.user())
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{metrics}/metrics")).text
        assert 'elodrome_rpcs_total{code="OK",rpc="accounts.v1.EdgeService/Cre' in page
        process.send_signal(signal.SIGTERM)
        _, lines = process.communicate(timeout=20)
    assert process.returncode == 0
    records = [json.loads(line) for line in lines.splitlines()]
    assert {record["service"] for record in records} == {"evaluator"}
    events = [record["event"] for record in records]
    assert events.index("serving") < events.index("rpc") < events.index("draining")


def test_a_program_without_settings_names_the_variables() -> None:
    with program("evaluator", {"metrics_port": "many"}) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("evaluator cannot start:")
    for name in ("ELODROME_DATABASE_URL", "ELODROME_KEYS_DIR", "ELODROME_METRICS_PORT"):
        assert f"{name}: " in said


async def test_a_program_waits_for_its_database(
    own_postgres: RunningPostgres, keys_dir: Path
) -> None:
    own_postgres.kill()
    port = free_port()
    settings = {
        "database_url": own_postgres.url("evaluator"),
        "keys_dir": keys_dir,
        "grpc_port": port,
        "metrics_port": 0,
    }
    with program("evaluator", settings) as process:
        assert await first_event(process) == "waiting_for_database"
        start_again(own_postgres)
        async with caller(f"127.0.0.1:{port}") as stub:
            await until_answering(stub, process)


async def test_a_program_can_be_told_to_stop_waiting(tmp_path: Path, keys_dir: Path) -> None:
    nowhere = f"postgresql+psycopg://evaluator@/elodrome?host={tmp_path}"
    settings = {"database_url": nowhere, "keys_dir": keys_dir, "metrics_port": 0}
    with program("evaluator", settings) as process:
        assert await first_event(process) == "waiting_for_database"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0


async def first_event(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return json.loads(await asyncio.to_thread(process.stderr.readline))["event"]
