"""Starting a session pins its opponent, through gRPC against real Postgres and NATS."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from elodrome.sessions.v1 import session_pb2

from tests.service.publishing import publish
from tests.service.sessions_player import DUEL, refused
from tests.waiting import eventually

if TYPE_CHECKING:
    from deploy.laptop.broker import RunningBroker
    from tests.tokens import Tokens

DRILL = session_pb2.SESSION_MODE_DRILL

Started = "Callable[..., Any]"


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


async def test_while_the_registry_is_away_known_promotions_stand_in(
    playing: Started, tokens: Tokens, nats_server: RunningBroker
) -> None:
    async with playing() as play:
        model = play.registry.add_model("doom-basic", styles=("aggressive",))
        await play.start(model_id=model.id)
        promoted = play.registry.promote(model)
        await publish(nats_server, "registry", promoted, about=model.id)
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
