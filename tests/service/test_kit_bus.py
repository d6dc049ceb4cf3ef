"""From a commit in one service to an effect in another, once, whatever is delivered twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from elodrome.evaluator.v1.events_pb2 import EvaluationFinished, GateDecided
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kit import bus, db, log, server
from kit.bus import Bus, BusUnavailableError
from kit.inbox import DeadLetter, InboxEvent, Letter
from kit.outbox import OutboxEvent, emit
from kit.replay import replay
from tests.service.kit_events import Environment, Recorder, count, decided, effects_of, pair
from tests.service.kit_probe import EvaluatorProbe, RegistryProbe
from tests.service.kit_program import effects, variables
from tests.waiting import eventually


async def test_events_take_effect_once_in_order_under_the_request_that_caused_them(
    service_environment: Environment,
) -> None:
    recorder = Recorder()
    async with pair(service_environment, recorder) as (evaluator, registry):
        log.request_id.set("req-5")
        names = [f"d{number}" for number in range(20)]
        await decided(evaluator, *names)
        assert await effects_of(registry, events=20) == names
        assert recorder.seen[0] == ("d0", "registry", "req-5")
        assert await count(registry.sessions, InboxEvent) == 20


async def test_an_event_of_another_kind_is_left_alone(service_environment: Environment) -> None:
    recorder = Recorder()
    async with pair(service_environment, recorder) as (evaluator, registry):
        async with evaluator.sessions.begin() as session:
            emit(session, EvaluationFinished(), about="e1")
            emit(session, GateDecided(decision_id="d1"), about="d1")
        assert await effects_of(registry, events=1) == ["d1"]
        assert await count(registry.sessions, InboxEvent) == 1


async def test_an_event_published_twice_has_one_effect(service_environment: Environment) -> None:
    recorder = Recorder()
    async with pair(service_environment, recorder) as (evaluator, registry):
        await decided(evaluator, "d1")
        assert await effects_of(registry, events=1) == ["d1"]
        async with evaluator.sessions() as session:
            row = await session.scalar(select(OutboxEvent))
        # The stream recognises the id for two minutes; the inbox does so for eight days.
        published = await evaluator.bus.publish(
            row.subject, row.payload, event_id=row.id, request_id=""
        )
        assert published is None
        letter = Letter(row.id, row.subject, row.payload, "")
        handlers = recorder.consumer().handlers
        assert await handlers.apply(registry.sessions, letter, "registry") is False
        assert await effects(registry.sessions) == ["d1"]


async def test_concurrent_deliveries_of_one_event_have_one_effect(
    service_environment: Environment,
) -> None:
    recorder = Recorder()
    async with pair(service_environment, recorder) as (_, registry):
        event = GateDecided(decision_id="d1")
        letter = Letter(
            "id-1", "elodrome.evaluator.v1.GateDecided.d1", event.SerializeToString(), ""
        )
        handlers = recorder.consumer().handlers
        outcomes = await asyncio.gather(
            *(handlers.apply(registry.sessions, letter, "registry") for _ in range(5))
        )
        assert sorted(outcomes) == [False, False, False, False, True]
        assert await effects(registry.sessions) == ["d1"]


async def test_a_failing_event_is_tried_again_and_leaves_no_half_effect(
    service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_RETRY_AFTER_S", (0.05,))
    recorder = Recorder()
    recorder.failures["d1"] = 3
    async with pair(service_environment, recorder) as (evaluator, registry):
        await decided(evaluator, "d1")
        assert await effects_of(registry, events=1) == ["d1"]
        assert await count(registry.sessions, DeadLetter) == 0


async def test_an_event_that_never_succeeds_becomes_a_dead_letter_and_is_replayed(
    service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_RETRY_AFTER_S", (0.05,))
    recorder = Recorder()
    recorder.failures["bad"] = 8
    async with pair(service_environment, recorder) as (evaluator, registry):
        await decided(evaluator, "bad", "good")

        async def buried() -> DeadLetter | None:
            async with registry.sessions() as session:
                return await session.scalar(
                    select(DeadLetter).where(DeadLetter.error.contains("on fire"))
                )

        letter = await eventually(buried, within_s=15)
        assert letter.subject == "elodrome.evaluator.v1.GateDecided.bad"
        assert await effects_of(registry, events=1) == ["good"]

        recorder.failures["bad"] = 1
        consumers = [recorder.consumer()]
        failed = await replay(registry.sessions, consumers)
        assert "on fire" in failed[letter.event_id]
        assert await replay(registry.sessions, consumers) == {letter.event_id: "applied"}
        assert await effects(registry.sessions) == ["good", "bad"]
        assert await replay(registry.sessions, consumers) == {}
        with pytest.raises(LookupError, match="no dead letter 7"):
            await replay(registry.sessions, consumers, event_ids=["7"])


async def test_a_dead_letter_that_nobody_handles_stays(service_environment: Environment) -> None:
    async with pair(service_environment, Recorder()) as (_, registry):
        async with registry.sessions.begin() as session:
            await session.execute(
                insert(DeadLetter).values(
                    event_id="e", subject="a.b.Gone.1", payload=b"", request_id="", error="old"
                )
            )
        assert await replay(registry.sessions, []) == {"e": "no consumer handles a.b.Gone"}
        assert await count(registry.sessions, DeadLetter) == 1


async def test_a_wrong_password_is_reported_and_retried_not_hung_on(
    service_environment: Environment,
) -> None:
    settings = EvaluatorProbe(**(service_environment("evaluator") | {"nats_password": "wrong"}))
    async with server.running(settings, lambda _: server.Parts([])) as running:
        await decided(running.context, "d1")
        health = health_pb2_grpc.HealthStub(running.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert not running.context.bus.connected


async def test_a_service_may_not_publish_what_belongs_to_another(
    service_environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_PUBLISH_TIMEOUT_S", 0.5)
    connection = Bus(RegistryProbe(**service_environment("registry")))
    task = asyncio.create_task(connection.run())
    await connection.until_connected()
    with pytest.raises(BusUnavailableError):
        await connection.publish(
            "elodrome.evaluator.v1.GateDecided.d1", b"", event_id="1", request_id=""
        )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_replay_command_lists_and_reports_what_stays(
    service_environment: Environment,
) -> None:
    settings = service_environment("registry")
    engine = db.open_engine(settings["database_url"])
    async with db.Sessions(engine).begin() as session:
        await session.execute(
            insert(DeadLetter).values(
                event_id="e-1", subject="a.b.Gone.1", payload=b"", request_id="", error="on fire"
            )
        )
    await engine.dispose()

    def command(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "kit.replay", "registry", *arguments],
            env=os.environ | variables("registry", settings),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    status, said = await asyncio.to_thread(command, "--list")
    assert status == 0
    assert said.startswith("e-1 ")
    assert said.endswith("a.b.Gone.1 on fire\n")
    assert await asyncio.to_thread(command) == (1, "e-1 no consumer handles a.b.Gone\n")


async def test_a_service_that_ends_while_its_bus_connects_does_not_wait_for_it(
    service_environment: Environment,
) -> None:
    settings = EvaluatorProbe(**service_environment("evaluator"))
    for turns in range(0, 400, 4):
        connecting = asyncio.create_task(Bus(settings).run())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        _, left = await asyncio.wait([connecting], timeout=10)
        assert not left
