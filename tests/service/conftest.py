"""The services that tests start: a registry with its peers, and sessions with a registry."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from kit import server
from services.sessions.__main__ import build
from services.sessions.settings import SessionsSettings
from tests.cluster.cluster import Cluster
from tests.service.registry_service import Registry, a_registry
from tests.service.sessions_player import Play
from tests.service.sessions_registry import running_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.tokens import Tokens

Environment = "Callable[[str], dict[str, Any]]"


@pytest.fixture
def registry_settings() -> dict[str, Any]:
    """What a module wants `registry` to be set to; it overrides this."""
    return {}


@pytest.fixture
async def registry(
    service_environment: Environment, tokens: Tokens, registry_settings: dict[str, Any]
) -> AsyncIterator[Registry]:
    async with a_registry(service_environment, tokens, **registry_settings) as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose containers are processes of this machine."""
    running = Cluster(tmp_path / "cluster")
    yield running
    running.stop()


@pytest.fixture(params=["process", "kubernetes"])
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `running_executor` needs to run its workers here, and then on a cluster."""
    if request.param == "process":
        return {}
    return {"cluster": request.getfixturevalue("cluster")}


@pytest.fixture
def playing(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> Callable[..., Any]:
    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Play]:
        async with running_registry(keys_dir) as registry:
            environment = {
                **service_environment("sessions"),
                "addresses": {"registry": registry.address},
                "session_watch_interval_s": 0.02,
                **settings,
            }
            async with server.running(SessionsSettings(**environment), build) as running:
                player_id = str(uuid.uuid4())
                player = tokens.user(player_id, roles=("PLAYER",))
                yield Play(running, registry, player, player_id)

    return start
