"""Playing, ending and reading sessions, through gRPC against real Postgres and NATS."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.sessions.v1 import events_pb2, session_pb2, session_service_pb2
from sqlalchemy import select

from kit import errors
from kit.outbox import OutboxEvent
from tests.service.sessions_player import DUEL, refused
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.tokens import Tokens

PRACTICE = session_pb2.SESSION_MODE_PRACTICE
DRILL = session_pb2.SESSION_MODE_DRILL

Started = "Callable[..., Any]"


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
