"""How submissions come to be built, and what their builds make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from kit import errors, outbox, trace
from kit.db import new_id
from services.evaluator.models.agent import Build, Submission, SubmissionState, get_agent
from services.evaluator.models.workload import ACTIVE, State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.models.agent import Agent

_TIME_LIMIT_S = 3600
_MAX_BUILDS = 10
_RETRY_AFTER_S = 30


async def check_room(session: AsyncSession, owner_id: str) -> None:
    """Raise RESOURCE_EXHAUSTED where an owner has too many builds that have not ended."""
    unended = select(func.count()).where(Build.owner_id == owner_id, Build.state.in_(ACTIVE))
    if (await session.scalar(unended) or 0) >= _MAX_BUILDS:
        raise errors.resource_exhausted(
            f"{_MAX_BUILDS} of your builds have not ended",
            reason="BUILDS_PENDING",
            retry_after_s=_RETRY_AFTER_S,
        )


def start(session: AsyncSession, submission: Submission, attempt: int) -> Build:
    """Add the next build of a submission."""
    build = Build(
        id=new_id(),
        submission=submission,
        attempt=attempt,
        owner_id=submission.owner_id,
        run_owner_id=submission.owner_id,
        time_limit_s=_TIME_LIMIT_S,
        traceparent=trace.current.get(),
    )
    submission.build_id = build.id
    session.add(build)
    return build


async def conclude(session: AsyncSession, build: Build) -> None:
    """Let the submission follow its build, which has just ended; tell of both."""
    agent, submission = await locked(session, build.submission_id)
    if build.state is State.COMPLETED:
        submission.move(SubmissionState.ACTIVE)
        # Whoever submitted a newer version meanwhile, and had it built, goes on with that one.
        if agent.active_number < submission.number:
            await put_in(session, agent, submission)
        else:
            submission.move(SubmissionState.INACTIVE)
    elif build.code:
        submission.move(SubmissionState.BUILD_FAILED)
    else:
        submission.move(SubmissionState.FAILED)
    event = submission.to_event(build.error, build.finish_time)
    outbox.emit(session, event, about=submission.id, origin=build.traceparent)


async def locked(session: AsyncSession, submission_id: str) -> tuple[Agent, Submission]:
    """Read a submission and its agent, both locked: the agent first, as everybody does."""
    submission = await session.get_one(Submission, submission_id)
    agent = await get_agent(session, submission.agent_id, lock=True)
    return agent, await session.get_one(Submission, submission_id, with_for_update=True)


async def put_in(session: AsyncSession, agent: Agent, submission: Submission) -> None:
    """Let an ACTIVE submission play for a locked agent in place of the one before."""
    if agent.active_submission_id not in {None, submission.id}:
        before = await session.get_one(Submission, agent.active_submission_id, with_for_update=True)
        before.move(SubmissionState.INACTIVE)
    agent.active_submission_id = submission.id
    agent.active_number = submission.number
