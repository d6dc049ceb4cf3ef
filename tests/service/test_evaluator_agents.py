"""Agents and their submissions: whose they are, and how code becomes playable."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.evaluator.v1 import agent_pb2, events_pb2
from elodrome.evaluator.v1 import agent_service_pb2 as agents
from elodrome.evaluator.v1 import referee_service_pb2 as referee
from elodrome.executor.v1 import run_pb2
from sqlalchemy import select

from kit.outbox import OutboxEvent
from services.evaluator import ending
from services.evaluator.models.agent import Build
from tests.service.arena_bench import Arena, archive
from tests.service.evaluator_bench import refusal, running_bench
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens

PENDING = agent_pb2.SUBMISSION_STATE_PENDING
BUILDING = agent_pb2.SUBMISSION_STATE_BUILDING
ACTIVE = agent_pb2.SUBMISSION_STATE_ACTIVE
INACTIVE = agent_pb2.SUBMISSION_STATE_INACTIVE
BUILD_FAILED = agent_pb2.SUBMISSION_STATE_BUILD_FAILED
FAILED = agent_pb2.SUBMISSION_STATE_FAILED


@pytest.fixture
async def arena(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Arena]:
    async with running_bench(service_environment, keys_dir, tokens) as bench:
        yield Arena(bench)


async def told(arena: Arena) -> list[events_pb2.SubmissionBuilt]:
    async with arena.bench.running.context.sessions() as session:
        rows = await session.scalars(select(OutboxEvent).order_by(OutboxEvent.sequence))
        return [
            events_pb2.SubmissionBuilt.FromString(row.payload)
            for row in rows
            if "SubmissionBuilt" in row.subject
        ]


async def test_code_becomes_playable_with_no_further_step(arena: Arena) -> None:
    agent = await arena.agent(description="takes the first")
    assert (agent.active_submission_id, agent.active_number) == ("", 0)
    submission = await arena.submit(agent, archive("def act(observation):\n    return 3\n"))
    assert (submission.state, submission.number) == (PENDING, 1)
    worker = await arena.worker(submission.build.id)
    task = await arena.claim_build(submission.build.id, worker)
    assert (task.name, task.game) == (agent.name, "connect_four")
    assert hashlib.sha256(task.archive).hexdigest() == submission.sha256
    assert (await arena.submission(submission.id)).state == BUILDING
    verdict = referee.FinishBuildRequest(build_id=submission.build.id, log="1 file\nwon")
    for _ in range(2):
        await arena.bench.referee.FinishBuild(verdict, metadata=worker)
    built = await arena.submission(submission.id)
    assert (built.state, built.build.state) == (ACTIVE, agent_pb2.BUILD_STATE_COMPLETED)
    assert built.build.log == "1 file\nwon"
    now = await arena.get_agent(agent.id)
    assert (now.active_submission_id, now.active_number) == (submission.id, 1)
    [event] = await told(arena)
    assert (event.submission_id, event.state, event.error) == (submission.id, ACTIVE, "")


async def test_a_build_is_a_run_that_says_what_it_builds(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    await arena.worker(submission.build.id)
    run = arena.bench.peers.executor.run_of(submission.build.id)
    assert run.type == run_pb2.RUN_TYPE_BUILD
    assert dict(run.config) == {
        "submission_id": submission.id,
        "build_id": submission.build.id,
        "seats": 1,
    }
    assert run.owner_id == arena.bench.user_id


async def test_code_that_is_refused_says_by_which_rule_and_is_built_again(arena: Arena) -> None:
    agent = await arena.agent()
    submission = await arena.submit(agent)
    refused = await arena.build(
        submission, error="agent.py has no act", code="ENTRY_POINT_MISSING", log="archive: no act"
    )
    assert (refused.state, refused.build.error) == (BUILD_FAILED, "agent.py has no act")
    assert refused.build.code == "ENTRY_POINT_MISSING"
    assert (await arena.get_agent(agent.id)).active_number == 0
    request = agents.RebuildSubmissionRequest(id=submission.id)
    again = await arena.agents.RebuildSubmission(request, metadata=arena.user)
    assert (again.state, again.build.attempt) == (PENDING, 2)
    assert (await arena.build(again)).state == ACTIVE
    listed = await arena.agents.ListBuilds(
        agents.ListBuildsRequest(submission_id=submission.id), metadata=arena.user
    )
    assert [(build.attempt, build.log) for build in listed.items] == [
        (2, ""),
        (1, "archive: no act"),
    ]
    error = await refusal(arena.agents.RebuildSubmission(request, metadata=arena.user))
    assert error.reason == "ILLEGAL_TRANSITION"


async def test_a_fault_of_the_platform_is_told_apart(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    failed = await arena.build(submission, error="no sandbox", is_platform_fault=True)
    assert (failed.state, failed.build.code) == (FAILED, "")


@pytest.mark.parametrize("verdict", [{"code": "CRASHED"}, {"is_platform_fault": True}])
async def test_a_refusal_without_a_sentence_makes_nothing_playable(
    arena: Arena, verdict: dict[str, Any]
) -> None:
    submission = await arena.submit(await arena.agent())
    error = await refusal(arena.build(submission, **verdict))
    assert (error.field, error.code.name) == ("error", "INVALID_ARGUMENT")
    assert (await arena.submission(submission.id)).state == BUILDING


async def test_a_build_whose_run_fails_leaves_nothing_waiting(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    await arena.worker(submission.build.id)
    run = arena.bench.peers.executor.run_of(submission.build.id)
    run.state, run.last_error = run_pb2.RUN_STATE_FAILED, "the worker was killed"

    async def has_failed() -> agent_pb2.Submission | None:
        seen = await arena.submission(submission.id)
        return seen if seen.state == FAILED else None

    async with arena.bench.running.context.sessions.begin() as session:
        build = await session.get_one(Build, submission.build.id, with_for_update=True)
        await ending.follow_run(session, build, run.state, run.last_error)
    seen = await eventually(has_failed)
    assert seen.build.error == "its run failed: the worker was killed"


async def test_the_newest_playable_version_plays_and_an_older_one_may_be_put_in(
    arena: Arena,
) -> None:
    agent = await arena.agent()
    first = await arena.submit(agent, archive("def act(o):\n    return 1\n"))
    second = await arena.submit(agent, archive("def act(o):\n    return 2\n"))
    assert (await arena.build(second)).state == ACTIVE
    assert (await arena.build(first)).state == INACTIVE
    assert (await arena.get_agent(agent.id)).active_number == 2
    request = agents.ActivateSubmissionRequest(id=first.id)
    for _ in range(2):
        put_in = await arena.agents.ActivateSubmission(request, metadata=arena.user)
        assert put_in.state == ACTIVE
    assert (await arena.get_agent(agent.id)).active_submission_id == first.id
    assert (await arena.submission(second.id)).state == INACTIVE
    listed = await arena.agents.ListSubmissions(
        agents.ListSubmissionsRequest(agent_id=agent.id), metadata=arena.user
    )
    assert [one.number for one in listed.items] == [2, 1]


async def test_what_was_not_built_cannot_be_put_in(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    request = agents.ActivateSubmissionRequest(id=submission.id)
    error = await refusal(arena.agents.ActivateSubmission(request, metadata=arena.user))
    assert (error.reason, error.code.name) == ("SUBMISSION_NOT_PLAYABLE", "FAILED_PRECONDITION")


async def test_equal_bytes_are_flagged(arena: Arena) -> None:
    agent = await arena.agent()
    first, second = [await arena.submit(agent) for _ in range(2)]
    assert (first.same_as_id, second.same_as_id) == ("", first.id)
    assert (await arena.submit(await arena.agent())).same_as_id == ""


async def test_numbers_of_versions_are_given_once_to_whoever_submits_at_once(
    arena: Arena,
) -> None:
    agent = await arena.agent()
    submitted = await asyncio.gather(*(arena.submit(agent) for _ in range(6)))
    assert sorted(one.number for one in submitted) == [1, 2, 3, 4, 5, 6]


async def test_submissions_are_for_their_owner_and_agents_for_everybody(arena: Arena) -> None:
    agent = await arena.agent()
    submission = await arena.submit(agent)
    stranger = arena.bench.tokens.user(str(uuid.uuid4()))
    shown = await arena.agents.GetAgent(agents.GetAgentRequest(id=agent.id), metadata=stranger)
    assert shown.name == agent.name
    for call in (
        arena.agents.GetSubmission(
            agents.GetSubmissionRequest(id=submission.id), metadata=stranger
        ),
        arena.agents.ListBuilds(
            agents.ListBuildsRequest(submission_id=submission.id), metadata=stranger
        ),
        arena.agents.RebuildSubmission(
            agents.RebuildSubmissionRequest(id=submission.id), metadata=stranger
        ),
        arena.agents.ActivateSubmission(
            agents.ActivateSubmissionRequest(id=submission.id), metadata=stranger
        ),
    ):
        assert (await refusal(call)).reason == "SUBMISSION_NOT_FOUND"
    for call in (
        arena.submit(agent, by=stranger),
        arena.agents.ListSubmissions(
            agents.ListSubmissionsRequest(agent_id=agent.id), metadata=stranger
        ),
    ):
        assert (await refusal(call)).reason == "AGENT_NOT_FOUND"


async def test_agents_are_listed_by_game_name_and_owner(arena: Arena) -> None:
    mine = await arena.agent(game="tic_tac_toe")
    other = arena.bench.tokens.user(str(uuid.uuid4()))
    theirs = await arena.agent(by=other, name=mine.name, game="tic_tac_toe")

    async def listed(**fields: Any) -> set[str]:
        request = agents.ListAgentsRequest(**fields)
        found = await arena.agents.ListAgents(request, metadata=arena.user)
        return {agent.id for agent in found.items}

    assert await listed(name=mine.name) == {mine.id, theirs.id}
    assert await listed(name=mine.name, mine=True) == {mine.id}
    assert await listed(name=mine.name, game="connect_four") == set()


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"name": "Not A Slug"}, "name", "INVALID_FIELD"),
        ({"game": "chess"}, "game", "UNKNOWN_GAME"),
        ({"description": "x" * 2001}, "description", "INVALID_FIELD"),
    ],
)
async def test_an_agent_that_breaks_a_rule_is_refused(
    arena: Arena, fields: dict[str, Any], field: str, reason: str
) -> None:
    error = await refusal(arena.agent(**fields))
    assert (error.field, error.reason) == (field, reason)


async def test_a_name_is_taken_once_for_each_owner_and_game(arena: Arena) -> None:
    agent = await arena.agent()
    error = await refusal(arena.agent(name=agent.name))
    assert (error.field, error.reason) == ("name", "AGENT_NAME_TAKEN")
    assert (await arena.agent(name=agent.name, game="tic_tac_toe")).name == agent.name


@pytest.mark.parametrize(
    ("code", "reason"),
    [(b"not a zip", "INVALID_FIELD"), (b"PK\x03\x04" + bytes(1 << 20), "TOO_LARGE")],
)
async def test_what_is_no_archive_is_not_stored(arena: Arena, code: bytes, reason: str) -> None:
    agent = await arena.agent()
    assert (await refusal(arena.submit(agent, code))).reason == reason
    assert (await arena.submit(agent)).number == 1


async def test_builds_that_have_not_ended_are_bounded(arena: Arena) -> None:
    agent = await arena.agent()
    for _ in range(10):
        await arena.submit(agent)
    error = await refusal(arena.submit(agent))
    assert (error.reason, error.code.name) == ("BUILDS_PENDING", "RESOURCE_EXHAUSTED")


async def test_a_build_is_for_the_worker_of_its_run(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    other = await arena.submit(await arena.agent())
    stranger = await arena.worker(other.build.id)
    error = await refusal(arena.claim_build(submission.build.id, stranger))
    assert error.reason == "WRONG_RUN"
    built = await arena.build(submission)
    late = await arena.worker(built.build.id, epoch=2)
    error = await refusal(arena.claim_build(built.build.id, late))
    assert error.reason == "BUILD_ENDED"


async def test_a_submission_is_watched_to_the_end_of_its_build(arena: Arena) -> None:
    submission = await arena.submit(await arena.agent())
    request = agents.WatchSubmissionRequest(id=submission.id)
    stream = arena.agents.WatchSubmission(request, metadata=arena.user)
    updates = [await anext(aiter(stream))]
    assert updates[0].progress.state in {PENDING, BUILDING}
    await arena.build(submission, log="won")
    updates += [update async for update in stream]
    assert updates[-1].done.state == ACTIVE
    assert updates[-1].done.build.log == "won"


async def test_whoever_activates_while_builds_end_leaves_one_active(arena: Arena) -> None:
    agent = await arena.agent()
    first = await arena.build(await arena.submit(agent))
    others = [await arena.submit(agent) for _ in range(3)]

    async def activate() -> None:
        for _ in range(5):
            request = agents.ActivateSubmissionRequest(id=first.id)
            await arena.agents.ActivateSubmission(request, metadata=arena.user)

    await asyncio.gather(activate(), *(arena.build(other) for other in others))
    listed = await arena.agents.ListSubmissions(
        agents.ListSubmissionsRequest(agent_id=agent.id), metadata=arena.user
    )
    active = [one.id for one in listed.items if one.state == ACTIVE]
    assert active == [(await arena.get_agent(agent.id)).active_submission_id]
