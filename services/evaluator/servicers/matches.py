"""MatchService: starting, following and reading matches."""

from __future__ import annotations

import asyncio
import gzip
import secrets
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import match_pb2, match_service_pb2, match_service_pb2_grpc
from sqlalchemy import func, select

from games.board import SEAT_COUNT
from kit import errors, parse, trace
from kit.auth import principal
from kit.db import new_id
from kit.page import list_page
from services.evaluator import ending, watching
from services.evaluator.models.agent import Submission, get_agent, own_submission
from services.evaluator.models.match import Match, MatchSeat, Replay, get_match
from services.evaluator.models.workload import ACTIVE, State
from services.evaluator.servicers.agents import parse_game

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal
    from kit.db import Sessions
    from services.evaluator.bell import Bell
    from services.evaluator.reconciler import Reconciler

BUILTINS = ("random", "first")
_TIME_LIMIT_S = 3600
_MAX_MATCHES = 50
_RETRY_AFTER_S = 30
_MAX_SEED = 2**31 - 1
_PIECE_BYTES = 256 << 10


class MatchServicer(match_service_pb2_grpc.MatchServiceServicer):
    """Matches of everybody; the caller ends his own."""

    def __init__(self, sessions: Sessions, reconciler: Reconciler, bell: Bell) -> None:
        self._sessions = sessions
        self._reconciler = reconciler
        self._bell = bell

    async def CreateMatch(
        self, request: match_service_pb2.CreateMatchRequest, _context: grpc.aio.ServicerContext
    ) -> match_pb2.Match:
        """Start a match."""
        caller = principal()
        game = parse_game(request.game)
        seed = request.seed if request.HasField("seed") else secrets.randbelow(_MAX_SEED + 1)
        parse.integer(seed, "seed", minimum=0, maximum=_MAX_SEED)
        _check_seats(request)
        async with self._sessions.begin() as session:
            await _check_room(session, caller)
            match = Match(
                id=new_id(),
                game=game,
                seed=seed,
                with_replay=not request.without_replay,
                owner_id=caller.user_id,
                run_owner_id=caller.user_id,
                time_limit_s=_TIME_LIMIT_S,
                traceparent=trace.current.get(),
            )
            for place, asked in enumerate(request.seats):
                match.seats.append(await _seat(session, match, place, asked))
            session.add(match)
            await session.flush()
        self._reconciler.wake()
        return match.to_proto(caller)

    async def GetMatch(
        self, request: match_service_pb2.GetMatchRequest, _context: grpc.aio.ServicerContext
    ) -> match_pb2.Match:
        """Read a match."""
        async with self._sessions() as session:
            match = await get_match(session, parse.uuid(request.id, "id"))
            return match.to_proto(principal())

    async def ListMatches(
        self, request: match_service_pb2.ListMatchesRequest, _context: grpc.aio.ServicerContext
    ) -> match_service_pb2.ListMatchesResponse:
        """List matches."""
        caller = principal()
        async with self._sessions() as session:
            items, token, total = await list_page(
                session,
                _filtered(request),
                Match,
                request,
                convert=lambda match: match.to_proto(caller),
            )
        return match_service_pb2.ListMatchesResponse(
            items=items, next_page_token=token, total=total
        )

    async def CancelMatch(
        self, request: match_service_pb2.CancelMatchRequest, _context: grpc.aio.ServicerContext
    ) -> match_pb2.Match:
        """Cancel a match at once; its run is stopped by the reconciler."""
        reason = parse.text(request.reason, "reason", min_length=0, max_length=500)
        match_id = parse.uuid(request.id, "id")
        async with self._sessions.begin() as session:
            match = await get_match(session, match_id, lock=True)
            if not principal().owns(match.owner_id):
                raise errors.not_found("match", match_id)
            await ending.cancel(session, match, reason or "cancelled on request")
            await session.flush()
        self._reconciler.wake()
        self._bell.ring(match_id)
        return match.to_proto(principal())

    async def WatchMatch(
        self, request: match_service_pb2.WatchMatchRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[match_service_pb2.WatchMatchResponse]:
        """Stream where a match stands until it ends."""
        match_id = parse.uuid(request.id, "id")
        cursor = watching.parse_cursor(request.cursor)
        async with self._sessions() as session:
            await get_match(session, match_id)
        async for change in watching.changes(self._sessions, self._bell, Match, match_id, cursor):
            shown = change.workload.to_proto(principal())
            if change.is_news:
                yield match_service_pb2.WatchMatchResponse(cursor=change.cursor, progress=shown)
            if change.is_last:
                yield match_service_pb2.WatchMatchResponse(cursor=change.cursor, done=shown)

    async def GetReplay(
        self, request: match_service_pb2.GetReplayRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[match_service_pb2.GetReplayResponse]:
        """Send a replay in pieces."""
        match_id = parse.uuid(request.match_id, "match_id")
        async with self._sessions() as session:
            await get_match(session, match_id)
            replay = await session.get(Replay, match_id)
        if replay is None:
            raise errors.not_found("replay", match_id)
        document = await asyncio.to_thread(gzip.decompress, replay.content)
        await context.send_initial_metadata(
            (
                ("http-content-type", "application/json"),
                ("http-content-length", str(len(document))),
                ("http-etag", f'"{replay.sha256}"'),
            )
        )
        for start in range(0, len(document), _PIECE_BYTES):
            yield match_service_pb2.GetReplayResponse(data=document[start : start + _PIECE_BYTES])


def _check_seats(request: match_service_pb2.CreateMatchRequest) -> None:
    if len(request.seats) != SEAT_COUNT:
        raise errors.invalid_argument("seats", f"must be {SEAT_COUNT}, as {request.game} has")
    agents = [seat.agent_id for seat in request.seats if seat.agent_id]
    if len(set(agents)) < len(agents):
        raise errors.invalid_argument(
            "seats", "must not hold the same agent twice", reason="SAME_AGENT"
        )
    for place, seat in enumerate(request.seats):
        if not seat.WhichOneof("player"):
            raise errors.invalid_argument(f"seats[{place}].agent_id", "must be set, or builtin")
        if seat.WhichOneof("player") == "builtin" and seat.builtin not in BUILTINS:
            raise errors.invalid_argument(
                f"seats[{place}].builtin",
                f"must be one of {', '.join(BUILTINS)}",
                reason="UNKNOWN_PLAYER",
            )
        if seat.builtin and seat.submission_id:
            raise errors.invalid_argument(
                f"seats[{place}].submission_id", "must be empty for a built-in player"
            )


async def _seat(
    session: AsyncSession, match: Match, place: int, asked: match_pb2.MatchSeat
) -> MatchSeat:
    """Find out who is to sit at a place, and with which code."""
    if asked.builtin:
        return MatchSeat(match_id=match.id, place=place, name=asked.builtin, builtin=asked.builtin)
    field = f"seats[{place}]"
    agent = await get_agent(session, parse.uuid(asked.agent_id, f"{field}.agent_id"))
    if agent.game != match.game:
        raise errors.invalid_argument(
            f"{field}.agent_id", f"plays {agent.game}", reason="WRONG_GAME"
        )
    submission_id = parse.optional_uuid(asked.submission_id, f"{field}.submission_id")
    if submission_id is None and agent.active_submission_id is None:
        raise errors.failed_precondition(
            f"{agent.name} has no active submission", reason="AGENT_NOT_PLAYABLE", agent=agent.id
        )
    if submission_id is None:
        submission = await session.get_one(Submission, agent.active_submission_id)
    else:
        submission = await own_submission(session, submission_id, principal())
    if submission.agent_id != agent.id:
        raise errors.not_found("submission", submission.id)
    submission.check_playable()
    return MatchSeat(
        match_id=match.id,
        place=place,
        name=agent.name,
        agent_id=agent.id,
        agent_owner_id=agent.owner_id,
        submission_id=submission.id,
        submission_number=submission.number,
    )


async def _check_room(session: AsyncSession, caller: Principal) -> None:
    unended = select(func.count()).where(Match.owner_id == caller.user_id, Match.state.in_(ACTIVE))
    if (await session.scalar(unended) or 0) >= _MAX_MATCHES:
        raise errors.resource_exhausted(
            f"{_MAX_MATCHES} of your matches have not ended",
            reason="MATCHES_PENDING",
            retry_after_s=_RETRY_AFTER_S,
        )


def _filtered(request: match_service_pb2.ListMatchesRequest) -> Select[Match]:
    query = select(Match)
    if request.game:
        query = query.where(Match.game == parse_game(request.game))
    if agent_id := parse.optional_uuid(request.agent_id, "agent_id"):
        played = select(MatchSeat.match_id).where(MatchSeat.agent_id == agent_id)
        query = query.where(Match.id.in_(played))
    if request.state:
        number = parse.enum_value(request.state, "state", match_pb2.MatchState)
        name = match_pb2.MatchState.Name(number).removeprefix("MATCH_STATE_")
        query = query.where(Match.state == State(name))
    return query
