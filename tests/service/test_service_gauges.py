"""Evaluator, registry and sessions tell what waits and what is out of line as their tables do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from kit import errors
from services.evaluator import gauges as evaluator_gauges
from services.registry import gauges as registry_gauges
from services.sessions import gauges as sessions_gauges
from tests.service.evaluator_bench import running_bench
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kit.db import Sessions
    from kit.gauges import Measure
    from tests.service.registry_service import Registry
    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def measured(sessions: Sessions, measure: Measure) -> None:
    async with sessions() as session:
        await measure(session)


async def changed(sessions: Sessions, statement: str) -> None:
    async with sessions.begin() as session:
        await session.execute(text(statement))


async def test_an_evaluation_without_a_run_waits_and_is_out_of_line(
    service_environment: Environment, keys_dir: Path, tokens: Tokens
) -> None:
    async with running_bench(service_environment, keys_dir, tokens) as bench:
        sessions = bench.running.context.sessions
        bench.peers.executor.refusal = errors.unavailable("the executor is away")
        await bench.start(await bench.suite())
        older = "UPDATE evaluations SET create_time = create_time - interval '400 s'"
        await changed(sessions, older)
        await measured(sessions, evaluator_gauges.measure)
        assert value("elodrome_evaluations", state="PENDING") == 1
        assert value("elodrome_queue_waiting", queue="evaluations") == 1
        assert 400 <= value("elodrome_queue_oldest_seconds", queue="evaluations") < 460
        assert 400 <= value("elodrome_divergence_oldest_seconds", loop="evaluations") < 460
        bench.peers.executor.refusal = None

        async def is_in_line() -> bool:
            await measured(sessions, evaluator_gauges.measure)
            return value("elodrome_divergence_oldest_seconds", loop="evaluations") == 0

        # Its run is created, and it waits for a worker: that is a queue, not a divergence.
        await eventually(is_in_line)
        assert value("elodrome_queue_waiting", queue="evaluations") == 1


@pytest.fixture
def registry_settings() -> dict[str, Any]:
    """A registry that sweeps and scrubs once, at its start."""
    return {"sweep_interval_s": 3600, "scrub_interval_s": 3600, "pending_ttl_s": 60}


async def test_files_are_told_and_so_are_uploads_that_nobody_committed(
    registry: Registry, registry_settings: dict[str, Any]
) -> None:
    context = registry.running.context
    measure = registry_gauges.measure(context.settings)
    checkpoint = await registry.a_checkpoint()
    await measured(context.sessions, measure)
    assert value("elodrome_artifacts") == 1
    assert value("elodrome_artifacts_bytes") == checkpoint.artifact.size_bytes
    assert value("elodrome_divergence_oldest_seconds", loop="sweep") == 0
    abandoned = (
        "UPDATE checkpoints SET commit_time = NULL, update_time = update_time - interval '90 s'"
    )
    await changed(context.sessions, abandoned)
    await measured(context.sessions, measure)
    assert 30 <= value("elodrome_divergence_oldest_seconds", loop="sweep") < 60
    stale = "UPDATE artifacts SET verify_time = verify_time - interval '8 days'"
    await changed(context.sessions, stale)
    await measured(context.sessions, measure)
    assert 86_400 <= value("elodrome_divergence_oldest_seconds", loop="scrub") < 86_460


async def test_a_session_that_nobody_ends_is_out_of_line(playing: Callable[..., Any]) -> None:
    async with playing(session_reap_interval_s=3600) as play:
        sessions = play.running.context.sessions
        await play.start(model_id=play.registry.add_model("doom-basic").id)
        await measured(sessions, sessions_gauges.measure)
        assert value("elodrome_sessions_active") == 1
        assert value("elodrome_divergence_oldest_seconds", loop="reaper") == 0
        silent = "UPDATE sessions SET idle_expire_time = clock_timestamp() - interval '9 s'"
        await changed(sessions, silent)
        await measured(sessions, sessions_gauges.measure)
        assert 9 <= value("elodrome_divergence_oldest_seconds", loop="reaper") < 60
