"""The sessions service through gRPC, against real Postgres and NATS."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.sessions.v1 import (
    events_pb2,
    session_pb2,
    session_service_pb2,
)
from sqlalchemy import select

from kit import errors, server
from kit.bus import Bus
from kit.outbox import OutboxEvent
from services.sessions.__main__ import build
from services.sessions.settings import SessionsSettings
from tests.service.sessions_player import DUEL, Play, refused
from tests.service.sessions_registry import running_registry
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

PRACTICE = session_pb2.SESSION_MODE_PRACTICE
DRILL = session_pb2.SESSION_MODE_DRILL


Started = "Callable[..., Any]"


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


async def test_start_pins_the_promoted_version(playing: Started) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic", styles=("aggressive",))
        session = await play.start(model_id=model.id, difficulty=7, opponent_style="Aggressive")
        stable = model.stable_version
        assert session.owner_id == play.player_id
        assert session.state == session_pb2.SESSION_STATE_ACTIVE
        assert (session.mode, session.difficulty, session.opponent_style) == (DUEL, 7, "Aggressive")
        assert session.opponent == session_pb2.Opponent(
            model_id=model.id,
            model_name="doom-basic",
            version_id=stable.id,
            version_number=stable.number,
            checkpoint_id=stable.checkpoint_id,
            sha256=stable.artifact.sha256,
            styles=["aggressive"],
            source=session_pb2.PIN_SOURCE_REGISTRY,
        )
        assert not session.HasField("score")
        assert session.idle_expire_time.seconds - session.create_time.seconds in {299, 300}
        assert await play.get(session.id) == session
        assert await play.emitted() == [f"SessionStarted.{session.id}"]


async def test_promotion_leaves_a_running_session_alone(playing: Started) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic")
        session = await play.start(model_id=model.id)
        play.registry.promote(model)
        assert (await play.get(session.id)).opponent == session.opponent
        ended = await play.end(session.id)
        assert ended.opponent == session.opponent
        later = await play.start(model_id=model.id)
        assert later.opponent.version_number == session.opponent.version_number + 1


async def test_style_chooses_the_newest_promoted_agent_that_plays_it(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("old", styles=("aggressive",))
        new = play.registry.add_model("new", styles=("aggressive", "sniper"))
        play.registry.add_model("calm", styles=("defensive",))
        play.registry.add_model("untrained", styles=("aggressive",), promoted=False)
        session = await play.start(opponent_style="aggressive")
        assert session.opponent.model_id == new.id
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_OPPONENT"):
            await play.start(opponent_style="berserk")
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_OPPONENT"):
            await play.start(model_id=new.id, opponent_style="defensive")


async def test_without_a_promoted_version_nothing_starts(playing: Started) -> None:
    async with playing() as play:
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_OPPONENT"):
            await play.start()
        model = play.registry.add_model("untrained", promoted=False)
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_STABLE_VERSION"):
            await play.start(model_id=model.id)
        async with refused(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"):
            await play.start(model_id=str(uuid.uuid4()))
        assert (await play.sessions()).total == 0
        assert await play.emitted() == []


async def test_players_play_promoted_versions_only(playing: Started, tokens: Tokens) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic")
        candidate = play.registry.add_candidate(model)
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "VERSION_NOT_PROMOTED"):
            await play.start(version_id=candidate.id)
        stranger = tokens.user(roles=("USER",))
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "VERSION_NOT_PROMOTED"):
            await play.start(version_id=candidate.id, who=stranger)
        for tester in (tokens.admin(), tokens.user(model.owner_id, roles=("USER",))):
            session = await play.start(version_id=candidate.id, who=tester)
            assert session.opponent.version_id == candidate.id
        promoted = await play.start(version_id=model.stable_version.id)
        assert promoted.opponent.version_id == model.stable_version.id


WRONG_STARTS = [
    ({"mode": 0}, "mode"),
    ({"mode": 99}, "mode"),
    ({"difficulty": 0}, "difficulty"),
    ({"difficulty": 11}, "difficulty"),
    ({"model_id": "../../etc/passwd"}, "model_id"),
    ({"version_id": "1"}, "version_id"),
    ({"request_id": "again"}, "request_id"),
    ({"opponent_style": "x" * 65}, "opponent_style"),
    ({"mode": DRILL}, "drill"),
    ({"mode": DRILL, "drill": "juggling"}, "drill"),
    ({"mode": DUEL, "drill": "aim_tracking"}, "drill"),
]


async def test_wrong_start_is_refused_by_field(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        for fields, field in WRONG_STARTS:
            async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field=field):
                await play.start(**fields)
        assert play.registry.calls == 0


async def test_repeated_starts_make_one_session(playing: Started) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic")
        fields = {"model_id": model.id, "request_id": str(uuid.uuid4())}
        sessions = await asyncio.gather(*(play.start(**fields) for _ in range(10)))
        assert len({session.id for session in sessions}) == 1
        assert (await play.sessions()).total == 1
        assert len(await play.emitted()) == 1
        async with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", field="request_id"):
            await play.start(**fields, difficulty=9)


async def test_a_player_has_a_limited_number_of_active_sessions(
    playing: Started, tokens: Tokens
) -> None:
    async with playing(session_max_active=2) as play:
        model = play.registry.add_model("doom-basic")
        starts = (play.start(model_id=model.id) for _ in range(5))
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        started = [one for one in outcomes if isinstance(one, session_pb2.Session)]
        assert len(started) == 2
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_SESSIONS"):
            await play.start(model_id=model.id)
        await play.start(model_id=model.id, who=tokens.user())
        await play.end(started[0].id)
        await play.start(model_id=model.id)


async def test_events_are_listed_in_time_order_and_late_ones_marked(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        await play.record(session.id, 100, "opponent_seen")
        await play.record(session.id, 400, "shot", {"hit": True, "damage": 12})
        late = await play.record(session.id, 250, "shot", {"hit": False})
        await play.record(session.id, 400, "kill", {"victim": "cacodemon"})
        assert (late.sequence, late.late) == (3, True)
        listed = (await play.events(session.id)).items
        assert [event.t_ms for event in listed] == [100, 250, 400, 400]
        assert [event.sequence for event in listed] == [1, 3, 2, 4]
        assert [event.late for event in listed] == [False, True, False, False]
        assert dict(listed[2].payload) == {"hit": True, "damage": 12}
        assert (await play.get(session.id)).event_count == 4


async def test_events_come_in_pages(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        for t_ms in (5, 3, 3, 9, 1):
            await play.record(session.id, t_ms, "kill")
        seen, token = [], ""
        while True:
            page = await play.events(session.id, page_size=2, page_token=token)
            assert page.total == 5
            seen += [(event.t_ms, event.sequence) for event in page.items]
            token = page.next_page_token
            if not token:
                break
        assert seen == [(1, 5), (3, 2), (3, 3), (5, 1), (9, 4)]
        assert (await play.events(session.id, type="shot")).total == 0
        async with refused(
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", field="page_token"
        ):
            await play.events(session.id, page_token="%%%")


async def test_repeated_event_is_stored_once(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        event_id = str(uuid.uuid4())
        repeats = [play.record(session.id, 10, "kill", event_id=event_id) for _ in range(8)]
        answers = await asyncio.gather(*repeats)
        assert {event.sequence for event in answers} == {1}
        assert (await play.events(session.id)).total == 1
        async with refused(grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED", field="event_id"):
            await play.record(session.id, 11, "kill", event_id=event_id)
        # Ids are the session's own: the same one elsewhere is another event.
        other = await play.start()
        assert (await play.record(other.id, 11, "kill", event_id=event_id)).sequence == 1


async def test_wrong_event_is_refused_and_not_stored(playing: Started) -> None:
    async with playing(session_max_events=3) as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_EVENT_TYPE", field="type"):
            await play.record(session.id, 1, "teleport")
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="payload.hit"):
            await play.record(session.id, 1, "shot", {"hit": "perhaps"})
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE", field="payload"):
            await play.record(session.id, 1, "kill", {"victim": "x" * 5_000})
        assert (await play.get(session.id)).event_count == 0
        for t_ms in range(3):
            await play.record(session.id, t_ms, "kill")
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "EVENT_LIMIT_REACHED"):
            await play.record(session.id, 4, "kill")
        assert (await play.events(session.id)).total == 3


async def test_parallel_events_keep_a_gapless_order(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        sent = (play.record(session.id, t_ms, "kill") for t_ms in range(40))
        answers = await asyncio.gather(*sent)
        assert sorted(event.sequence for event in answers) == list(range(1, 41))


async def test_the_server_decides_the_score(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        await play.record(session.id, 10, "shot", {"hit": True})
        await play.record(session.id, 20, "kill")
        await play.record(session.id, 30, "kill")
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "SCORE_MISMATCH", field="score"):
            await play.end(session.id, score=1_000_000)
        assert (await play.get(session.id)).state == session_pb2.SESSION_STATE_ACTIVE
        ended = await play.end(session.id, score=100)
        assert ended.score == 100
        assert ended.state == session_pb2.SESSION_STATE_ENDED
        assert ended.end_reason == "ended by the player"
        assert ended.HasField("end_time")
        assert not ended.HasField("idle_expire_time")


async def test_a_session_ends_once(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        ends = (play.end(session.id) for _ in range(10))
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        assert sum(isinstance(one, session_pb2.Session) for one in outcomes) == 1
        refusals = [errors.from_call(one) for one in outcomes if isinstance(one, Exception)]
        assert {one.reason for one in refusals} == {"ILLEGAL_TRANSITION"}
        assert refusals[0].metadata == {"current": "ENDED", "requested": "ENDED"}
        assert await play.emitted() == [
            f"SessionStarted.{session.id}",
            f"SessionEnded.{session.id}",
        ]
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_OVER"):
            await play.record(session.id, 1, "kill")


async def test_no_event_slips_in_after_the_summary(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        recording = [play.record(session.id, t_ms, "kill") for t_ms in range(20)]
        outcomes = await asyncio.gather(*recording, play.end(session.id), return_exceptions=True)
        stored = sum(isinstance(one, session_pb2.SessionEvent) for one in outcomes)
        summary = await play.summary(session.id)
        assert summary.event_count == stored == (await play.events(session.id)).total


async def test_summary_explains_a_planted_weakness_and_recommends_its_drill(
    playing: Started,
) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start(difficulty=5)
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_OVER"):
            await play.summary(session.id)
        for t_ms in range(10):
            await play.record(session.id, t_ms * 500, "shot", {"hit": t_ms == 0})
        await play.record(session.id, 6_000, "kill", {"victim": "imp"})
        ended = await play.end(session.id)
        summary = await play.summary(session.id)
        assert summary.score == ended.score == 100
        assert dict(summary.counts) == {"shot": 10, "kill": 1}
        assert summary.event_count == ended.event_count == 11
        assert summary.play_time_s == 6
        assert summary.accuracy == pytest.approx(0.1)
        assert [insight.rule for insight in summary.insights] == ["low_accuracy"]
        stored = {event.id for event in (await play.events(session.id)).items}
        assert stored.issuperset(summary.insights[0].evidence_event_ids)
        assert [moment.text for moment in summary.timeline] == ["Kill: imp"]
        assert [drill.name for drill in summary.drills] == ["aim_tracking"]
        drill = await play.start(
            mode=DRILL, drill=summary.drills[0].name, difficulty=summary.drills[0].difficulty
        )
        assert (drill.drill, drill.difficulty) == ("aim_tracking", 4)


async def test_players_see_and_steer_only_their_own(playing: Started, tokens: Tokens) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        mine = await play.start()
        stranger = tokens.user(roles=("PLAYER",))
        theirs = await play.start(who=stranger, mode=PRACTICE)
        missing = (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
        async with refused(*missing):
            await play.get(theirs.id)
        async with refused(*missing):
            await play.record(theirs.id, 1, "kill")
        async with refused(*missing):
            await play.end(theirs.id)
        assert [one.id for one in (await play.sessions()).items] == [mine.id]
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_OWNER"):
            await play.sessions(owner_id=theirs.owner_id)
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_OWNER"):
            await play.sessions(owner_id="-")
        admin = tokens.admin()
        assert (await play.sessions(who=admin, owner_id="-")).total == 2
        listed = await play.sessions(who=admin, owner_id=theirs.owner_id)
        assert [one.id for one in listed.items] == [theirs.id]
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_PLAYER"):
            await play.record(theirs.id, 1, "kill", who=admin)
        assert (await play.end(theirs.id, who=admin)).end_reason == "ended by staff"


async def test_sessions_are_filtered(playing: Started) -> None:
    async with playing() as play:
        one = play.registry.add_model("one")
        two = play.registry.add_model("two")
        duel = await play.start(model_id=one.id)
        practice = await play.start(model_id=two.id, mode=PRACTICE)
        await play.end(duel.id)

        async def ids(**fields: Any) -> list[str]:
            return [session.id for session in (await play.sessions(**fields)).items]

        assert await ids() == [practice.id, duel.id]
        assert await ids(state=session_pb2.SESSION_STATE_ENDED) == [duel.id]
        assert await ids(mode=PRACTICE) == [practice.id]
        assert await ids(model_id=one.id) == [duel.id]
        assert await ids(page_size=1) == [practice.id]
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="page_size"):
            await ids(page_size=201)
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="state"):
            await ids(state=77)


async def test_idle_session_ends_as_abandoned_with_a_summary(playing: Started) -> None:
    async with playing(session_idle_timeout_s=0.4, session_reap_interval_s=0.05) as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        await play.record(session.id, 10, "shot", {"hit": True})
        await play.record(session.id, 20, "kill")

        async def over() -> session_pb2.Session | None:
            seen = await play.get(session.id)
            return seen if seen.state != session_pb2.SESSION_STATE_ACTIVE else None

        reaped = await eventually(over)
        assert reaped.state == session_pb2.SESSION_STATE_ABANDONED
        assert reaped.end_reason == "the player went silent"
        assert reaped.score == 100
        assert (await play.summary(session.id)).event_count == 2
        assert (await play.emitted())[-1] == f"SessionEnded.{session.id}"
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"):
            await play.end(session.id)


async def test_playing_on_puts_off_the_idle_end_but_not_the_time_limit(playing: Started) -> None:
    async with playing(
        session_idle_timeout_s=0.6, session_time_limit_s=1.5, session_reap_interval_s=0.05
    ) as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        recorded = 0

        async def over() -> session_pb2.Session | None:
            nonlocal recorded
            seen = await play.get(session.id)
            if seen.state != session_pb2.SESSION_STATE_ACTIVE:
                return seen
            recorded += 1
            try:
                await play.record(session.id, recorded, "kill")
            except grpc.aio.AioRpcError as error:
                if errors.from_call(error).reason != "SESSION_OVER":
                    raise
            return None

        reaped = await eventually(over)
        assert reaped.end_reason == "the time limit was reached"
        assert reaped.end_time.ToMilliseconds() >= reaped.expire_time.ToMilliseconds()


async def test_watch_follows_a_session_and_resumes(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()
        await play.record(session.id, 1, "kill")

        def watch(cursor: str = "") -> Any:
            request = session_service_pb2.WatchSessionRequest(id=session.id, cursor=cursor)
            return play.stub.WatchSession(request, metadata=play.player)

        call = watch()
        first = await call.read()
        assert first.event.sequence == 1
        await play.record(session.id, 2, "kill")
        second = await call.read()
        assert second.event.sequence == 2
        ended = await play.end(session.id)
        done = await call.read()
        assert done.done == ended
        assert await call.read() == grpc.aio.EOF
        resumed = [message async for message in watch(cursor=first.cursor)]
        assert [one.WhichOneof("update") for one in resumed] == ["event", "done"]
        assert resumed[0].event.sequence == 2
        after = [message async for message in watch(cursor=done.cursor)]
        assert [one.WhichOneof("update") for one in after] == ["done"]
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="cursor"):
            await watch(cursor="yesterday").read()


async def test_while_the_registry_is_away_known_promotions_stand_in(
    playing: Started, tokens: Tokens, service_environment: Callable[[str], dict[str, Any]]
) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic", styles=("aggressive",))
        await play.start(model_id=model.id)
        promoted = play.registry.promote(model)
        await publish(service_environment("registry"), promoted)
        await play.peer.stop()

        async def stood_in() -> session_pb2.Session | None:
            try:
                session = await play.start(model_id=model.id, opponent_style="aggressive")
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                return None
            return session

        session = await eventually(stood_in)
        assert session.opponent.version_id == promoted.version_id
        assert session.opponent.source == session_pb2.PIN_SOURCE_PROMOTION_EVENT
        # Whoever never faced the model may not be allowed to see it.
        async with refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"):
            await play.start(model_id=model.id, who=tokens.user(roles=("PLAYER",)))
        async with refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"):
            await play.start(version_id=promoted.version_id)


async def publish(environment: dict[str, Any], event: Any) -> None:
    """Publish an event as the registry's relay does."""
    bus = Bus(SessionsSettings(**environment))
    running = asyncio.create_task(bus.run())
    await bus.until_connected()
    subject = f"{event.DESCRIPTOR.full_name}.{event.model_id}"
    await bus.publish(
        subject, event.SerializeToString(), event_id=str(uuid.uuid4()), request_id="a-request"
    )
    running.cancel()


async def test_outbox_reaches_the_bus(playing: Started) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        session = await play.start()

        async def sent() -> list[OutboxEvent]:
            async with play.running.context.sessions() as db:
                rows = await db.scalars(
                    select(OutboxEvent).where(OutboxEvent.stream_sequence.is_not(None))
                )
                return list(rows)

        rows = await eventually(sent)
        started = events_pb2.SessionStarted.FromString(rows[0].payload)
        assert (started.session_id, started.mode) == (session.id, DUEL)


async def test_who_does_not_play_cannot_start(playing: Started, tokens: Tokens) -> None:
    async with playing() as play:
        play.registry.add_model("doom-basic")
        callers = [
            (tokens.user(roles=("VIEWER",)), grpc.StatusCode.PERMISSION_DENIED),
            (
                tokens.user(roles=("PLAYER",), scopes=frozenset({"READ"})),
                grpc.StatusCode.PERMISSION_DENIED,
            ),
            ([("x-nobody", "1")], grpc.StatusCode.UNAUTHENTICATED),
        ]
        for who, code in callers:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await play.start(who=who)
            assert failure.value.code() == code
