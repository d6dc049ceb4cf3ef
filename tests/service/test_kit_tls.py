"""Services that speak TLS to each other: who gets in, who does not, and what a new file changes."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.accounts.v1 import edge_service_pb2 as edge_pb2
from elodrome.accounts.v1.edge_service_pb2_grpc import EdgeServiceStub
from elodrome.executor.v1 import run_service_pb2 as run_pb2
from elodrome.executor.v1.run_service_pb2_grpc import RunServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from deploy.certificates import VALID_DAYS, Authority, save
from deploy.healthy import is_ready
from deploy.laptop.ports import free_port
from kit import server, tls
from kit.channel import open_channel
from tests.service.kit_probe import EvaluatorProbe, Runs, probe, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

BUILD = edge_pb2.GetBuildRequest()
HERE = ("localhost", "127.0.0.1")
CHECK = health_pb2.HealthCheckRequest()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority.new()


@pytest.fixture
def place(authority: Authority, tmp_path: Path) -> Path:
    """Where the certificate of the service lies."""
    save(tmp_path / "service", authority.issue("service", *HERE))
    return tmp_path / "service"


@pytest.fixture
def environment(
    service_environment: Callable[[str], dict[str, Any]], place: Path
) -> dict[str, Any]:
    more = {"nats_url": "", "tls_dir": place, "health_port": free_port()}
    return service_environment("evaluator") | more


async def answer() -> str:
    return "here"


@asynccontextmanager
async def serving(environment: dict[str, Any]) -> AsyncIterator[server.Running]:
    settings = EvaluatorProbe(**environment)
    async with server.running(settings, lambda _: probe(answer)) as running:
        yield running


def channel(
    running: server.Running, shown: dict[str, bytes] | None, believed: Authority
) -> grpc.aio.Channel:
    """Return a channel of somebody who shows a certificate, or none, and believes an authority."""
    key, certificate = (shown["tls.key"], shown["tls.crt"]) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(believed.pem, key, certificate)
    return grpc.aio.secure_channel(running.address, credentials)


async def is_let_in(opened: grpc.aio.Channel) -> bool:
    """Say whether a call is answered, or there is no connection for it."""
    async with opened:
        built = EdgeServiceStub(opened).GetBuild(BUILD, timeout=5)
        code = await built.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return code is grpc.StatusCode.OK


async def test_a_peer_with_a_certificate_of_the_authority_gets_in_and_nobody_else(
    environment: dict[str, Any], authority: Authority, stranger: Authority
) -> None:
    async with serving(environment) as running:
        assert await is_let_in(channel(running, authority.issue("worker"), authority))
        assert not await is_let_in(grpc.aio.insecure_channel(running.address))
        assert not await is_let_in(channel(running, None, authority))
        assert not await is_let_in(channel(running, stranger.issue("worker"), authority))
        past = authority.issue("worker", valid=timedelta(minutes=-1))
        assert not await is_let_in(channel(running, past, authority))


async def test_a_certificate_stands_for_no_token(
    environment: dict[str, Any], tokens: Tokens
) -> None:
    async with serving(environment) as running:
        stub = EdgeServiceStub(running.channel)
        request = edge_pb2.CreateStreamTicketRequest()
        assert (await refusal(stub.CreateStreamTicket(request))).reason == "TOKEN_MISSING"
        assert (await stub.CreateStreamTicket(request, metadata=tokens.user())).ticket == "here"


async def test_a_service_is_believed_only_under_a_name_of_its_certificate(
    environment: dict[str, Any], authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    """Neither a worker, whose certificate is for no name, nor another authority's can be one."""
    served = {
        "worker": (authority.issue("worker"), authority),
        "elsewhere": (authority.issue("service", "elodrome-registry.elodrome.svc"), authority),
        "stranger": (stranger.issue("service", *HERE), stranger),
    }
    for name, (files, let_in) in served.items():
        save(tmp_path / name, files)
        async with serving(environment | {"tls_dir": tmp_path / name}) as running:
            caller = channel(running, let_in.issue("worker"), authority)
            assert not await is_let_in(caller), name


async def test_a_service_reaches_itself_by_the_name_that_peers_know(
    environment: dict[str, Any], authority: Authority, place: Path
) -> None:
    """In a pod the certificate is for the name of the Service, and not for the loopback."""
    save(place, authority.issue("service", "elodrome-evaluator.elodrome.svc"))
    port = free_port()
    addresses = {"evaluator": f"dns:///elodrome-evaluator.elodrome.svc:{port}"}
    async with serving(environment | {"grpc_port": port, "addresses": addresses}) as running:
        own = running.context.channel("evaluator")
        assert (await EdgeServiceStub(own).GetBuild(BUILD)).version == "here"


async def test_health_answers_a_probe_without_tls_and_nothing_else_does(
    environment: dict[str, Any],
) -> None:
    settings = EvaluatorProbe(**environment)
    async with (
        serving(environment) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{settings.health_port}") as plain,
    ):
        health = health_pb2_grpc.HealthStub(plain)
        for name in ("", "liveness"):
            found = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
        assert await asyncio.to_thread(is_ready, settings.health_port)
        assert not await asyncio.to_thread(is_ready, running.port)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        refused = (
            health.Watch(CHECK),
            reflection_pb2_grpc.ServerReflectionStub(plain).ServerReflectionInfo(iter([listing])),
        )
        for call in refused:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        error = await refusal(EdgeServiceStub(plain).GetBuild(BUILD))
        assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert not await asyncio.to_thread(is_ready, settings.health_port)


async def test_there_is_no_port_for_probes_where_calls_are_plain(
    environment: dict[str, Any],
) -> None:
    async with serving(environment | {"tls_dir": None}):
        assert not await asyncio.to_thread(is_ready, environment["health_port"])


async def test_a_service_lets_in_peers_of_another_authority_without_a_restart(
    environment: dict[str, Any], authority: Authority, stranger: Authority, place: Path
) -> None:
    async with serving(environment) as running:
        before = EdgeServiceStub(channel(running, authority.issue("worker"), authority))
        assert (await before.GetBuild(BUILD)).version == "here"
        save(place, stranger.issue("service", *HERE))
        assert await is_let_in(channel(running, stranger.issue("worker"), stranger))
        assert not await is_let_in(channel(running, authority.issue("worker"), stranger))
        # Whoever is in stays until the connection is too old.
        assert (await before.GetBuild(BUILD)).version == "here"


async def test_a_caller_shows_the_certificate_that_lies_there_now(
    environment: dict[str, Any], stranger: Authority, place: Path
) -> None:
    environment["grpc_port"] = free_port()
    address = f"127.0.0.1:{environment['grpc_port']}"
    async with open_channel(address, certificates=tls.Certificates(place)) as kept:
        stub = EdgeServiceStub(kept)
        async with serving(environment):
            assert (await stub.GetBuild(BUILD)).version == "here"
            begun = stub.GetBuild(BUILD)
            save(place, stranger.issue("service", *HERE))
            # Nothing leads to the connection of a call that only begins but the call itself.
            after = stub.GetBuild(BUILD)
            gc.collect()
            assert (await begun).version == (await after).version == "here"
        async with serving(environment):
            assert (await stub.GetBuild(BUILD)).version == "here"


async def test_a_call_under_way_outlives_the_certificate_it_began_with(
    environment: dict[str, Any], stranger: Authority, place: Path, tokens: Tokens
) -> None:
    settings, runs, parts = EvaluatorProbe(**environment), Runs(), probe(answer)
    parts.servicers.append(runs)
    async with server.running(settings, lambda _: parts) as running:
        watching = RunServiceStub(running.channel).WatchRun(
            run_pb2.WatchRunRequest(), metadata=tokens.user()
        )
        runs.updates.put_nowait("1")
        assert (await watching.read()).cursor == "1"
        save(place, stranger.issue("service", *HERE))
        assert (await EdgeServiceStub(running.channel).GetBuild(BUILD)).version == "here"
        gc.collect()
        runs.updates.put_nowait("2")
        assert (await watching.read()).cursor == "2"


async def test_files_that_do_not_fit_change_nothing(
    environment: dict[str, Any], authority: Authority, place: Path
) -> None:
    async with serving(environment) as running:
        first = REGISTRY.get_sample_value("elodrome_certificate_expires_timestamp_seconds") or 0
        half = authority.issue("service", *HERE, valid=timedelta(days=VALID_DAYS + 1))
        (place / "tls.crt").write_bytes(half["tls.crt"])
        assert await is_let_in(channel(running, authority.issue("worker"), authority))
        (place / "tls.key").write_bytes(half["tls.key"])
        assert await is_let_in(channel(running, authority.issue("worker"), authority))
        now = REGISTRY.get_sample_value("elodrome_certificate_expires_timestamp_seconds") or 0
        assert round((now - first) / 86400) == 1
