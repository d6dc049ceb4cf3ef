"""Nobody in particular gets in nowhere, except where this list says so."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from kit.rule import rule_of
from services.gateway import routes
from services.gateway.routes import Shape
from tests.gateway import Environment, running_gateway

OPEN_TO_ALL = {
    "elodrome.accounts.v1.AccountService/Register",
    "elodrome.accounts.v1.AccountService/Login",
    "elodrome.accounts.v1.AccountService/RefreshToken",
    "elodrome.accounts.v1.EdgeService/GetBuild",
}
OPEN_PAGES = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics")

TABLE = routes.load()


def test_the_rules_open_exactly_the_named_rpcs() -> None:
    assert {rpc.name for rpc in TABLE.rpcs if rpc.anonymous} == OPEN_TO_ALL


@pytest.mark.parametrize("rpc", TABLE.rpcs, ids=lambda rpc: rpc.name)
def test_every_rpc_has_a_rule(rpc: routes.Rpc) -> None:
    rule = rule_of(rpc.descriptor)
    assert rule is not None
    assert rule.allow


def test_workers_alone_have_rpcs_without_a_route() -> None:
    routed = {route.rpc.name for route in TABLE.all}
    for rpc in TABLE.rpcs:
        if rpc.name not in routed:
            assert rule_of(rpc.descriptor).allow <= {"WORKER", "SERVICE"}, rpc.name


async def test_every_route_and_every_own_rpc_asks_who_calls(
    service_environment: Environment,
) -> None:
    # RPCs whose service is not running here are asked of it by its own tests.
    async with running_gateway(service_environment("gateway")) as gateway:
        for route in TABLE.all:
            path = route.template
            for name in route.variables:
                path = path.replace(f"{{{name}}}", "0f8fad5b-d9cb-469f-a165-70867728950e")
            answer = await gateway.http.request(route.method, path)
            refused = (answer.status_code, answer.json().get("error", {}).get("reason"))
            is_open = refused != (401, "TOKEN_MISSING")
            assert is_open == (route.rpc.name in OPEN_TO_ALL), f"{route.method} {path}"
        for path in OPEN_PAGES:
            assert (await gateway.http.get(path)).status_code == 200, path
        channel = gateway.running.channel
        refused = await asyncio.gather(*(_code(channel, rpc) for rpc in own_guarded()))
        assert set(refused) == {grpc.StatusCode.UNAUTHENTICATED}


def own_guarded() -> list[routes.Rpc]:
    return [
        rpc
        for rpc in TABLE.rpcs
        if rpc.backend == "gateway" and rpc.shape is Shape.UNARY and rpc.name not in OPEN_TO_ALL
    ]


async def _code(channel: grpc.aio.Channel, rpc: routes.Rpc) -> grpc.StatusCode:
    call = channel.unary_unary(rpc.path, request_serializer=rpc.request.SerializeToString)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(rpc.request())
    return refused.value.code()
