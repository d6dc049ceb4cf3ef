"""Matches: one run each, one result each, and what they count for."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import events_pb2, match_pb2
from elodrome.evaluator.v1 import match_service_pb2 as matches
from elodrome.executor.v1 import events_pb2 as executor_events
from elodrome.executor.v1 import run_pb2
from sqlalchemy import select

from kit.outbox import OutboxEvent
from services.evaluator.bell import Bell
from services.evaluator.consumers import RunEvents
from tests.service.arena_bench import DRAWN, LOST, WON, Arena, archive, replay
from tests.service.evaluator_bench import refusal, running_bench
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

RUNNING = match_pb2.MATCH_STATE_RUNNING
COMPLETED = match_pb2.MATCH_STATE_COMPLETED
FAILED = match_pb2.MATCH_STATE_FAILED
CANCELLED = match_pb2.MATCH_STATE_CANCELLED
VOID = match_pb2.MATCH_STATE_VOID


@pytest.fixture
async def arena(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Arena]:
    async with running_bench(service_environment, keys_dir, tokens) as bench:
        yield Arena(bench)


async def test_a_match_is_one_run_that_says_which_match_it_is(arena: Arena) -> None:
    agent = await arena.playable()
    match = await arena.match(agent, "random", seed=7)
    worker = await arena.worker(match.id)
    run = arena.bench.peers.executor.run_of(match.id)
    assert run.type == run_pb2.RUN_TYPE_MATCH
    assert dict(run.config) == {"match_id": match.id, "seats": 1}
    task = await arena.claim(match.id, worker)
    assert list(task.archives) == [archive(), b""]
    assert (task.match.seed, task.with_replay) == (7, True)
    assert (await arena.get_match(match.id)).state == RUNNING


async def test_a_result_is_kept_once_and_counts_for_both(arena: Arena) -> None:
    winner, loser = await arena.playable(), await arena.playable()
    match = await arena.match(winner, loser)
    worker = await arena.worker(match.id)
    await arena.claim(match.id, worker)
    for _ in range(3):
        ended = await arena.finish(match.id, worker, steps=21)
    assert (ended.state, ended.winner, ended.steps) == (COMPLETED, 0, 21)
    assert [seat.score for seat in ended.seats] == [1, 0]
    records = [await arena.get_agent(agent.id) for agent in (winner, loser)]
    assert [(one.wins, one.losses, one.draws) for one in records] == [(1, 0, 0), (0, 1, 0)]
    async with arena.bench.running.context.sessions() as session:
        rows = await session.scalars(select(OutboxEvent))
        events = [row for row in rows if "MatchFinished" in row.subject]
    [event] = [events_pb2.MatchFinished.FromString(row.payload) for row in events]
    assert (event.match.id, event.match.winner) == (match.id, 0)


async def test_a_draw_has_no_winner(arena: Arena) -> None:
    agent = await arena.playable()
    ended = await arena.play(await arena.match(agent, "first"), winner=None, seats=[DRAWN, DRAWN])
    assert (ended.state, ended.HasField("winner")) == (COMPLETED, False)
    assert (await arena.get_agent(agent.id)).draws == 1


async def test_a_void_match_counts_for_nobody(arena: Arena) -> None:
    agent = await arena.playable()
    match = await arena.match(agent, "first")
    ended = await arena.play(match, winner=None, seats=[LOST, LOST], void="no sandbox", replay=b"")
    assert (ended.state, ended.error) == (VOID, "no sandbox")
    assert not any(seat.HasField("score") for seat in ended.seats)
    record = await arena.get_agent(agent.id)
    assert (record.wins, record.losses, record.draws) == (0, 0, 0)


async def test_the_replay_is_what_the_referee_recorded(arena: Arena) -> None:
    document = {"format": 1, "frames": list(range(1000))}
    match = await arena.match("random", "first")
    assert (await refusal(arena.replay(match.id))).reason == "REPLAY_NOT_FOUND"
    ended = await arena.play(match, replay=replay(**document))
    assert ended.has_replay
    assert json.loads(await arena.replay(match.id)) == document


async def test_a_match_without_replay_keeps_none(arena: Arena) -> None:
    match = await arena.match("random", "first", without_replay=True)
    ended = await arena.play(match, replay=replay(frames=[]))
    assert not ended.has_replay
    assert (await refusal(arena.replay(match.id))).reason == "REPLAY_NOT_FOUND"


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({"seats": [WON]}, "seats"),
        ({"seats": [WON, WON]}, "winner"),
        ({"winner": 1}, "winner"),
        ({"winner": 7}, "winner"),
        ({"seats": [match_pb2.MatchSeat(score=0.7), LOST]}, "seats[0].score"),
        ({"seats": [match_pb2.MatchSeat(score=1, time_used_s=-1), LOST]}, "seats[0].time_used_s"),
        ({"replay": b"no gzip"}, "replay"),
        ({"replay": replay(frames=[]) + b"more"}, "replay"),
        ({"replay": replay(frames="x" * (33 << 20))}, "replay"),
        ({"environment_version": ""}, "environment_version"),
    ],
)
async def test_a_report_that_does_not_fit_changes_nothing(
    arena: Arena, report: dict[str, Any], field: str
) -> None:
    match = await arena.match("random", "first")
    worker = await arena.worker(match.id)
    await arena.claim(match.id, worker)
    error = await refusal(arena.finish(match.id, worker, **report))
    assert (error.field, error.code.name) == (field, "INVALID_ARGUMENT")
    assert (await arena.get_match(match.id)).state == RUNNING


async def test_what_the_code_said_is_for_its_owner(arena: Arena) -> None:
    owner = str(uuid.uuid4())
    by_owner = arena.bench.tokens.user(owner)
    agent = await arena.playable(by=by_owner)
    crashed = match_pb2.MatchSeat(
        score=0, fault=match_pb2.MATCH_FAULT_CRASHED, message="ZeroDivisionError"
    )
    match = await arena.match("random", agent)
    await arena.play(match, seats=[WON, crashed])
    for viewer, message in ((by_owner, "ZeroDivisionError"), (arena.user, "")):
        seat = (await arena.get_match(match.id, viewer)).seats[1]
        assert (seat.fault, seat.message) == (match_pb2.MATCH_FAULT_CRASHED, message)


async def test_the_version_that_plays_is_settled_when_the_match_is_made(arena: Arena) -> None:
    agent = await arena.playable()
    match = await arena.match(agent, "random")
    await arena.build(await arena.submit(agent, archive("def act(o):\n    return 6\n")))
    task = await arena.claim(match.id, await arena.worker(match.id))
    assert (task.archives[0], task.match.seats[0].submission_number) == (archive(), 1)
    later = await arena.match(agent, "random")
    assert later.seats[0].submission_number == 2


async def test_own_submissions_may_be_named_and_only_own_ones(arena: Arena) -> None:
    agent = await arena.playable()
    first = agent.active_submission_id
    await arena.build(await arena.submit(agent))
    seat = match_pb2.MatchSeat(agent_id=agent.id, submission_id=first)
    random = match_pb2.MatchSeat(builtin="random")
    request = matches.CreateMatchRequest(game="connect_four", seats=[seat, random])
    match = await arena.matches.CreateMatch(request, metadata=arena.user)
    assert match.seats[0].submission_number == 1
    stranger = arena.bench.tokens.user(str(uuid.uuid4()))
    error = await refusal(arena.matches.CreateMatch(request, metadata=stranger))
    assert error.reason == "SUBMISSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"game": "chess"}, "game", "UNKNOWN_GAME"),
        ({"seed": -1}, "seed", "INVALID_FIELD"),
        ({"seats": [match_pb2.MatchSeat(builtin="random")]}, "seats", "INVALID_FIELD"),
        (
            {"seats": [match_pb2.MatchSeat(builtin="random"), match_pb2.MatchSeat()]},
            "seats[1].agent_id",
            "INVALID_FIELD",
        ),
        (
            {"seats": [match_pb2.MatchSeat(builtin="mcts"), match_pb2.MatchSeat(builtin="first")]},
            "seats[0].builtin",
            "UNKNOWN_PLAYER",
        ),
    ],
)
async def test_a_match_that_breaks_a_rule_is_refused(
    arena: Arena, fields: dict[str, Any], field: str, reason: str
) -> None:
    error = await refusal(arena.match("random", "first", **fields))
    assert (error.field, error.reason) == (field, reason)


async def test_agents_that_cannot_play_this_are_refused(arena: Arena) -> None:
    agent = await arena.playable()
    assert (await refusal(arena.match(agent, agent))).reason == "SAME_AGENT"
    elsewhere = await arena.agent(game="tic_tac_toe")
    assert (await refusal(arena.match(elsewhere, agent))).reason == "WRONG_GAME"
    empty = await arena.agent()
    assert (await refusal(arena.match(empty, agent))).reason == "AGENT_NOT_PLAYABLE"
    unbuilt = await arena.submit(empty)
    seat = match_pb2.MatchSeat(agent_id=empty.id, submission_id=unbuilt.id)
    seats = [seat, match_pb2.MatchSeat(builtin="first")]
    assert (await refusal(arena.match(seats=seats))).reason == "SUBMISSION_NOT_PLAYABLE"


async def test_matches_that_have_not_ended_are_bounded(arena: Arena) -> None:
    await asyncio.gather(*(arena.match("random", "first") for _ in range(50)))
    error = await refusal(arena.match("random", "first"))
    assert (error.reason, error.code.name) == ("MATCHES_PENDING", "RESOURCE_EXHAUSTED")


async def test_a_cancelled_match_stops_its_run_and_takes_no_result(arena: Arena) -> None:
    agent = await arena.playable()
    match = await arena.match(agent, "random")
    worker = await arena.worker(match.id)
    await arena.claim(match.id, worker)
    request = matches.CancelMatchRequest(id=match.id, reason="a typing error")
    stranger = arena.bench.tokens.user(str(uuid.uuid4()))
    error = await refusal(arena.matches.CancelMatch(request, metadata=stranger))
    assert error.reason == "MATCH_NOT_FOUND"
    for _ in range(2):
        ended = await arena.matches.CancelMatch(request, metadata=arena.user)
    assert (ended.state, ended.error) == (CANCELLED, "a typing error")
    run = arena.bench.peers.executor.run_of(match.id)
    await eventually(lambda: run.state == run_pb2.RUN_STATE_CANCELLED)
    assert (await refusal(arena.finish(match.id, worker))).reason == "MATCH_ENDED"
    assert (await arena.get_agent(agent.id)).wins == 0


async def test_a_match_whose_worker_was_lost_counts_for_nobody(arena: Arena) -> None:
    match = await arena.match("random", "first")
    await arena.worker(match.id)
    run = arena.bench.peers.executor.run_of(match.id)
    event = executor_events.RunStateChanged(
        run_id=run.id,
        type=run_pb2.RUN_TYPE_MATCH,
        state=run_pb2.RUN_STATE_FAILED,
        last_error="the worker was killed",
        owner_id=run.owner_id,
        request_id=match.id,
    )
    async with arena.bench.running.context.sessions.begin() as session:
        await RunEvents(Bell()).state_changed(session, event)
    ended = await arena.get_match(match.id)
    assert (ended.state, ended.error) == (FAILED, "its run failed: the worker was killed")


async def test_a_match_is_for_the_worker_of_its_run_with_the_newest_lease(arena: Arena) -> None:
    match, other = [await arena.match("random", "first") for _ in range(2)]
    stranger = await arena.worker(other.id)
    assert (await refusal(arena.claim(match.id, stranger))).reason == "WRONG_RUN"
    old, new = [await arena.worker(match.id, epoch=epoch) for epoch in (1, 2)]
    await arena.claim(match.id, new)
    assert (await refusal(arena.finish(match.id, old))).reason == "STALE_EPOCH"
    assert (await arena.finish(match.id, new)).state == COMPLETED


async def test_matches_are_listed_by_game_agent_and_state(arena: Arena) -> None:
    agent = await arena.playable()
    played = await arena.play(await arena.match(agent, "random"))
    waiting = await arena.match(agent, "first")
    await arena.match("random", "first")

    async def listed(**fields: Any) -> list[str]:
        request = matches.ListMatchesRequest(**fields)
        found = await arena.matches.ListMatches(request, metadata=arena.user)
        return [match.id for match in found.items]

    assert await listed(agent_id=agent.id) == [waiting.id, played.id]
    assert await listed(agent_id=agent.id, state=COMPLETED) == [played.id]
    assert await listed(agent_id=agent.id, game="tic_tac_toe") == []


async def test_a_match_is_watched_to_its_end(arena: Arena) -> None:
    match = await arena.match("random", "first")
    stream = arena.matches.WatchMatch(matches.WatchMatchRequest(id=match.id), metadata=arena.user)
    assert (await anext(aiter(stream))).progress.id == match.id
    await arena.play(match)
    updates = [update async for update in stream]
    assert updates[-1].done.state == COMPLETED
    resumed = arena.matches.WatchMatch(
        matches.WatchMatchRequest(id=match.id, cursor=updates[-1].cursor), metadata=arena.user
    )
    assert [update.WhichOneof("update") async for update in resumed] == ["done"]


async def test_a_viewer_may_look_and_not_play(arena: Arena) -> None:
    viewer = arena.bench.tokens.user(str(uuid.uuid4()), roles=("VIEWER",))
    match = await arena.match("random", "first")
    assert (await arena.get_match(match.id, viewer)).id == match.id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await arena.match("random", "first", by=viewer)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
