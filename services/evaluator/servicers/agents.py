"""AgentService: agents, their submissions, and the builds of those."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from games import board
from kit import errors, parse
from kit.auth import principal
from kit.db import new_id
from kit.page import list_page
from services.evaluator import building, watching
from services.evaluator.models.agent import (
    MOVES,
    Agent,
    Build,
    Submission,
    SubmissionState,
    get_agent,
    own_agent,
    own_submission,
    same_code,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.evaluator.bell import Bell
    from services.evaluator.reconciler import Reconciler

MAX_ARCHIVE_BYTES = 1 << 20
_MAX_DESCRIPTION = 2_000
_ZIP = b"PK\x03\x04"


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Agents of everybody; submissions of the caller."""

    def __init__(self, sessions: Sessions, reconciler: Reconciler, bell: Bell) -> None:
        self._sessions = sessions
        self._reconciler = reconciler
        self._bell = bell

    async def CreateAgent(
        self, request: agent_service_pb2.CreateAgentRequest, _context: grpc.aio.ServicerContext
    ) -> agent_pb2.Agent:
        """Create an agent without code."""
        agent = Agent(
            id=new_id(),
            name=parse.slug(request.name, "name"),
            game=parse_game(request.game),
            description=parse.text(
                request.description, "description", min_length=0, max_length=_MAX_DESCRIPTION
            ),
            owner_id=principal().user_id,
        )
        async with self._sessions.begin() as session:
            session.add(agent)
            try:
                await session.flush()
            except IntegrityError as error:
                raise errors.already_exists(
                    f"you have an agent {agent.name} for {agent.game}",
                    reason="AGENT_NAME_TAKEN",
                    field="name",
                    name=agent.name,
                ) from error
        return agent.to_proto()

    async def GetAgent(
        self, request: agent_service_pb2.GetAgentRequest, _context: grpc.aio.ServicerContext
    ) -> agent_pb2.Agent:
        """Read an agent."""
        async with self._sessions() as session:
            return (await get_agent(session, parse.uuid(request.id, "id"))).to_proto()

    async def ListAgents(
        self, request: agent_service_pb2.ListAgentsRequest, _context: grpc.aio.ServicerContext
    ) -> agent_service_pb2.ListAgentsResponse:
        """List agents."""
        query = select(Agent)
        if request.game:
            query = query.where(Agent.game == parse_game(request.game))
        if name := parse.text(request.name, "name", min_length=0, max_length=64):
            query = query.where(Agent.name == name)
        if request.mine:
            query = query.where(Agent.owner_id == principal().user_id)
        async with self._sessions() as session:
            items, token, total = await list_page(
                session, query, Agent, request, convert=Agent.to_proto
            )
        return agent_service_pb2.ListAgentsResponse(items=items, next_page_token=token, total=total)

    async def CreateSubmission(
        self,
        request_iterator: AsyncIterator[agent_service_pb2.CreateSubmissionRequest],
        _context: grpc.aio.ServicerContext,
    ) -> agent_pb2.Submission:
        """Take code in and have it built."""
        agent_id, archive = await _receive(request_iterator)
        sha256 = hashlib.sha256(archive).hexdigest()
        async with self._sessions.begin() as session:
            agent = await own_agent(session, agent_id, principal(), lock=True)
            await building.check_room(session, agent.owner_id)
            agent.newest_number += 1
            submission = Submission(
                id=new_id(),
                agent=agent,
                number=agent.newest_number,
                sha256=sha256,
                size_bytes=len(archive),
                same_as_id=await same_code(session, agent.id, sha256),
                archive=archive,
                owner_id=agent.owner_id,
            )
            build = building.start(session, submission, 1)
            await session.flush()
        self._reconciler.wake()
        return submission.to_proto(build)

    async def GetSubmission(
        self, request: agent_service_pb2.GetSubmissionRequest, _context: grpc.aio.ServicerContext
    ) -> agent_pb2.Submission:
        """Read a submission."""
        submission_id = parse.uuid(request.id, "id")
        async with self._sessions() as session:
            submission = await own_submission(session, submission_id, principal())
            return submission.to_proto(await session.get_one(Build, submission.build_id))

    async def ListSubmissions(
        self, request: agent_service_pb2.ListSubmissionsRequest, _context: grpc.aio.ServicerContext
    ) -> agent_service_pb2.ListSubmissionsResponse:
        """List the submissions of an agent."""
        async with self._sessions() as session:
            agent = await own_agent(session, parse.uuid(request.agent_id, "agent_id"), principal())
            query = select(Submission).where(Submission.agent_id == agent.id)
            found, token, total = await list_page(
                session, query, Submission, request, convert=lambda submission: submission
            )
            builds = await _newest_builds(session, found)
        return agent_service_pb2.ListSubmissionsResponse(
            items=[submission.to_proto(builds[submission.build_id]) for submission in found],
            next_page_token=token,
            total=total,
        )

    async def ActivateSubmission(
        self,
        request: agent_service_pb2.ActivateSubmissionRequest,
        _context: grpc.aio.ServicerContext,
    ) -> agent_pb2.Submission:
        """Put a playable submission in."""
        submission_id = parse.uuid(request.id, "id")
        async with self._sessions.begin() as session:
            await own_submission(session, submission_id, principal())
            agent, submission = await building.locked(session, submission_id)
            submission.check_playable()
            if submission.state is not SubmissionState.ACTIVE:
                submission.move(SubmissionState.ACTIVE)
                await building.put_in(session, agent, submission)
                await session.flush()
            return submission.to_proto(await session.get_one(Build, submission.build_id))

    async def RebuildSubmission(
        self,
        request: agent_service_pb2.RebuildSubmissionRequest,
        _context: grpc.aio.ServicerContext,
    ) -> agent_pb2.Submission:
        """Build again what has failed."""
        submission_id = parse.uuid(request.id, "id")
        async with self._sessions.begin() as session:
            submission = await own_submission(session, submission_id, principal(), lock=True)
            MOVES.check(submission.state, SubmissionState.PENDING)
            await building.check_room(session, submission.owner_id)
            submission.move(SubmissionState.PENDING)
            failed = await session.get_one(Build, submission.build_id)
            build = building.start(session, submission, failed.attempt + 1)
            await session.flush()
        self._reconciler.wake()
        return submission.to_proto(build)

    async def ListBuilds(
        self, request: agent_service_pb2.ListBuildsRequest, _context: grpc.aio.ServicerContext
    ) -> agent_service_pb2.ListBuildsResponse:
        """List the builds of a submission."""
        submission_id = parse.uuid(request.submission_id, "submission_id")
        async with self._sessions() as session:
            submission = await own_submission(session, submission_id, principal())
            query = select(Build).where(Build.submission_id == submission.id)
            items, token, total = await list_page(
                session, query, Build, request, convert=Build.to_proto
            )
        return agent_service_pb2.ListBuildsResponse(items=items, next_page_token=token, total=total)

    async def WatchSubmission(
        self, request: agent_service_pb2.WatchSubmissionRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[agent_service_pb2.WatchSubmissionResponse]:
        """Stream where a submission stands until its build ends."""
        submission_id = parse.uuid(request.id, "id")
        cursor = watching.parse_cursor(request.cursor)
        async with self._sessions() as session:
            build_id = (await own_submission(session, submission_id, principal())).build_id
        async for change in watching.changes(self._sessions, self._bell, Build, build_id, cursor):
            async with self._sessions() as session:
                submission = await session.get_one(Submission, submission_id)
            shown = submission.to_proto(change.workload)
            if change.is_news:
                yield agent_service_pb2.WatchSubmissionResponse(
                    cursor=change.cursor, progress=shown
                )
            if change.is_last:
                yield agent_service_pb2.WatchSubmissionResponse(cursor=change.cursor, done=shown)


def parse_game(value: str) -> str:
    """Return a game that matches are played in."""
    if value not in board.NAMES:
        raise errors.invalid_argument(
            "game", f"must be one of {', '.join(board.NAMES)}", reason="UNKNOWN_GAME"
        )
    return value


async def _receive(
    messages: AsyncIterator[agent_service_pb2.CreateSubmissionRequest],
) -> tuple[str, bytes]:
    """Return the agent's id and the whole archive."""
    agent_id = ""
    archive = bytearray()
    is_first = True
    async for message in messages:
        if is_first:
            agent_id = parse.uuid(message.agent_id, "agent_id")
            is_first = False
        if max(message.size_bytes, len(archive) + len(message.data)) > MAX_ARCHIVE_BYTES:
            raise errors.too_large(
                f"the archive may have {MAX_ARCHIVE_BYTES} bytes", limit_bytes=MAX_ARCHIVE_BYTES
            )
        archive += message.data
    if not archive.startswith(_ZIP):
        raise errors.invalid_argument("data", "must be a zip with agent.py at its top")
    return agent_id, bytes(archive)


async def _newest_builds(
    session: AsyncSession, submissions: Sequence[Submission]
) -> dict[str, Build]:
    wanted = select(Build).where(Build.id.in_(submission.build_id for submission in submissions))
    return {build.id: build for build in await session.scalars(wanted)}
