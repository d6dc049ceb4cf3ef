"""Agents and matches at a running evaluator, and a referee that says what it is told to."""

from __future__ import annotations

import gzip
import io
import json
import uuid
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import (
    agent_pb2,
    agent_service_pb2_grpc,
    match_pb2,
    match_service_pb2_grpc,
)
from elodrome.evaluator.v1 import agent_service_pb2 as agents
from elodrome.evaluator.v1 import match_service_pb2 as matches
from elodrome.evaluator.v1 import referee_service_pb2 as referee

from services.evaluator.models.agent import Build
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.service.evaluator_bench import Bench
    from tests.tokens import Metadata

SOURCE = "def act(observation):\n    return observation['legal_actions'][0]\n"
WON = match_pb2.MatchSeat(score=1)
LOST = match_pb2.MatchSeat(score=0)
DRAWN = match_pb2.MatchSeat(score=0.5)


def archive(source: str = SOURCE) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr(zipfile.ZipInfo("agent.py"), source)
    return content.getvalue()


def replay(**document: Any) -> bytes:
    return gzip.compress(json.dumps(document).encode())


@dataclass
class Arena:
    """One user at one evaluator, with what referees say to it."""

    bench: Bench

    def __post_init__(self) -> None:
        channel = self.bench.running.channel
        self.agents = agent_service_pb2_grpc.AgentServiceStub(channel)
        self.matches = match_service_pb2_grpc.MatchServiceStub(channel)
        self.user: Metadata = self.bench.user

    async def agent(self, *, by: Metadata | None = None, **fields: Any) -> agent_pb2.Agent:
        request = {"name": f"agent-{uuid.uuid4().hex[:8]}", "game": "connect_four", **fields}
        return await self.agents.CreateAgent(
            agents.CreateAgentRequest(**request), metadata=by or self.user
        )

    async def submit(
        self, agent: agent_pb2.Agent, code: bytes | None = None, *, by: Metadata | None = None
    ) -> agent_pb2.Submission:
        content = archive() if code is None else code
        half = len(content) // 2
        messages = [
            agents.CreateSubmissionRequest(agent_id=agent.id, data=content[:half]),
            agents.CreateSubmissionRequest(data=content[half:]),
        ]
        return await self.agents.CreateSubmission(iter(messages), metadata=by or self.user)

    async def submission(self, submission_id: str) -> agent_pb2.Submission:
        request = agents.GetSubmissionRequest(id=submission_id)
        return await self.agents.GetSubmission(request, metadata=self.bench.tokens.admin())

    async def get_agent(self, agent_id: str) -> agent_pb2.Agent:
        request = agents.GetAgentRequest(id=agent_id)
        return await self.agents.GetAgent(request, metadata=self.user)

    async def worker(self, request_id: str, epoch: int = 1) -> Metadata:
        """The token of the run that was started for a build or a match."""

        def run_id() -> str:
            runs = self.bench.peers.executor.runs.values()
            return next((run.id for run in runs if run.request_id == request_id), "")

        return self.bench.tokens.worker(
            run_id=await eventually(run_id), job_id=str(uuid.uuid4()), epoch=epoch
        )

    async def claim_build(self, build_id: str, worker: Metadata) -> referee.ClaimBuildResponse:
        request = referee.ClaimBuildRequest(build_id=build_id)

        async def claimed() -> referee.ClaimBuildResponse | None:
            # The run is there a moment before the evaluator has noted which it is.
            build = await self._linked(build_id)
            return await self.bench.referee.ClaimBuild(request, metadata=worker) if build else None

        return await eventually(claimed)

    async def _linked(self, build_id: str) -> bool:
        async with self.bench.running.context.sessions() as session:
            return (await session.get_one(Build, build_id)).run_id is not None

    async def build(self, submission: agent_pb2.Submission, **verdict: Any) -> agent_pb2.Submission:
        """Build a submission as a referee would, with this verdict."""
        build_id = submission.build.id
        worker = await self.worker(build_id)
        await self.claim_build(build_id, worker)
        request = referee.FinishBuildRequest(build_id=build_id, **verdict)
        await self.bench.referee.FinishBuild(request, metadata=worker)
        return await self.submission(submission.id)

    async def playable(self, *, by: Metadata | None = None, **fields: Any) -> agent_pb2.Agent:
        """An agent with code that was built."""
        agent = await self.agent(by=by, **fields)
        await self.build(await self.submit(agent, by=by))
        return await self.get_agent(agent.id)

    async def match(
        self, *players: agent_pb2.Agent | str, by: Metadata | None = None, **fields: Any
    ) -> match_pb2.Match:
        seats = [
            match_pb2.MatchSeat(builtin=player)
            if isinstance(player, str)
            else match_pb2.MatchSeat(agent_id=player.id)
            for player in players
        ]
        request = matches.CreateMatchRequest(**{"game": "connect_four", "seats": seats, **fields})
        return await self.matches.CreateMatch(request, metadata=by or self.user)

    async def get_match(self, match_id: str, by: Metadata | None = None) -> match_pb2.Match:
        request = matches.GetMatchRequest(id=match_id)
        return await self.matches.GetMatch(request, metadata=by or self.user)

    async def claim(self, match_id: str, worker: Metadata) -> referee.ClaimMatchResponse:
        async def linked() -> str:
            return (await self.get_match(match_id)).run_id

        await eventually(linked)
        request = referee.ClaimMatchRequest(match_id=match_id)
        return await self.bench.referee.ClaimMatch(request, metadata=worker)

    async def finish(self, match_id: str, worker: Metadata, **report: Any) -> match_pb2.Match:
        request = {"environment_version": "pettingzoo 1", "seats": [WON, LOST], "winner": 0}
        return await self.bench.referee.FinishMatch(
            referee.FinishMatchRequest(match_id=match_id, **(request | report)), metadata=worker
        )

    async def play(self, match: match_pb2.Match, **report: Any) -> match_pb2.Match:
        """Play a match as a referee would, with this result."""
        worker = await self.worker(match.id)
        await self.claim(match.id, worker)
        return await self.finish(match.id, worker, **report)

    async def replay(self, match_id: str) -> bytes:
        request = matches.GetReplayRequest(match_id=match_id)
        pieces = self.matches.GetReplay(request, metadata=self.user)
        return b"".join([piece.data async for piece in pieces])
