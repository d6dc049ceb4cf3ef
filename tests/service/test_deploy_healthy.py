"""The health check of containers tells a service that is ready from one that is not."""

from __future__ import annotations

import asyncio

from deploy.healthy import fixed_port, is_ready
from deploy.laptop.ports import free_port
from tests.gateway import Environment, running_gateway


async def test_a_ready_service_is_healthy_and_a_stopped_one_is_not(
    service_environment: Environment,
) -> None:
    async with running_gateway(service_environment("gateway")) as gateway:
        port = gateway.settings.grpc_port
        assert await asyncio.to_thread(is_ready, port)
    assert not await asyncio.to_thread(is_ready, port)


def test_where_nobody_listens_nothing_is_healthy() -> None:
    assert not is_ready(free_port())


def test_a_service_that_speaks_tls_is_asked_where_health_is_plain() -> None:
    assert fixed_port("registry", {"ELODROME_TLS_DIR": "/run/secrets"}) == 50061
    assert fixed_port("registry", {"ELODROME_TLS_DIR": ""}) == 50051
    assert fixed_port("registry", {}) == 50051
