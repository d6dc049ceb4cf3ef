"""What referees are given of matches and builds, and what they may say came of them."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import match_pb2, referee_service_pb2
from sqlalchemy import select

from kit import errors, parse
from services.evaluator import ending
from services.evaluator.models.agent import (
    Build,
    Submission,
    SubmissionState,
    get_agent,
)
from services.evaluator.models.match import Match, MatchSeat, Replay, get_match
from services.evaluator.models.workload import State, current_time
from services.evaluator.summary import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal

_MAX_ERROR = 2_000
_MAX_CODE = 64
_MAX_LOG = 20_000
_MAX_STEPS = 1_000_000
_MAX_TIME_S = 86_400
_MAX_REPLAY_BYTES = 1 << 20
_MAX_DOCUMENT_BYTES = 32 << 20
_SCORES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Report:
    """What a referee says of a match; `void` is empty where the match counts."""

    seats: Sequence[match_pb2.MatchSeat]
    winner: int | None
    steps: int
    environment_version: str
    void: str
    replay: bytes
    replay_sha256: str


@dataclass(frozen=True)
class Verdict:
    """What a referee says of a build; `error` is empty where the code is playable."""

    error: str
    code: str
    log: str
    is_platform_fault: bool


async def claim_match(
    session: AsyncSession, match_id: str, worker: Principal
) -> referee_service_pb2.ClaimMatchResponse:
    """Let a worker take a match up."""
    match = await get_match(session, match_id, lock=True)
    match.admit(worker)
    match.take_up(await current_time(session))
    await session.flush()
    found = await _archives(session, [seat.submission_id for seat in match.seats])
    return referee_service_pb2.ClaimMatchResponse(
        match=match.to_proto(),
        archives=[found.get(seat.submission_id, b"") for seat in match.seats],
        with_replay=match.with_replay,
    )


async def _archives(
    session: AsyncSession, submission_ids: Sequence[str | None]
) -> dict[str | None, bytes]:
    query = select(Submission.id, Submission.archive).where(Submission.id.in_(submission_ids))
    return {row.id: row.archive for row in await session.execute(query)}


async def read_report(request: referee_service_pb2.FinishMatchRequest) -> Report:
    """Check a report; raise INVALID_ARGUMENT naming the field that is wrong."""
    for place, seat in enumerate(request.seats):
        _check_seat(seat, f"seats[{place}]")
    return Report(
        seats=request.seats,
        winner=request.winner if request.HasField("winner") else None,
        steps=parse.integer(request.steps, "steps", minimum=0, maximum=_MAX_STEPS),
        environment_version=parse.text(
            request.environment_version, "environment_version", max_length=128
        ),
        void=parse.text(request.void, "void", min_length=0, max_length=_MAX_ERROR),
        replay=request.replay,
        # Megabytes are unpacked, which others need not wait for.
        replay_sha256=await asyncio.to_thread(_replay_sha256, request.replay),
    )


def _check_seat(seat: match_pb2.MatchSeat, field: str) -> None:
    parse.number(seat.time_used_s, f"{field}.time_used_s", minimum=0, maximum=_MAX_TIME_S)
    parse.text(seat.message, f"{field}.message", min_length=0, max_length=_MAX_ERROR)
    if seat.fault:
        parse.enum_value(seat.fault, f"{field}.fault", match_pb2.MatchFault)
    if seat.score not in _SCORES:
        raise errors.invalid_argument(f"{field}.score", "must be 0, 0.5 or 1")


def _replay_sha256(content: bytes) -> str:
    """Return the digest of what a replay unpacks to, empty where there is none.

    Refuses what is too large, whole or unpacked, and what is no gzip of a JSON document.
    """
    if len(content) > _MAX_REPLAY_BYTES:
        raise errors.invalid_argument("replay", f"must be at most {_MAX_REPLAY_BYTES} bytes")
    if not content:
        return ""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        document = unpacking.decompress(content, _MAX_DOCUMENT_BYTES)
    except zlib.error as error:
        raise errors.invalid_argument("replay", "must be gzip") from error
    if not unpacking.eof or unpacking.unused_data:
        rule = f"must be one gzip of at most {_MAX_DOCUMENT_BYTES} bytes"
        raise errors.invalid_argument("replay", rule)
    if not document.startswith(b"{"):
        raise errors.invalid_argument("replay", "must be one JSON document")
    return hashlib.sha256(document).hexdigest()


async def finish_match(
    session: AsyncSession, match_id: str, report: Report, worker: Principal
) -> Match:
    """End a match with its result, once; a repeat by the same run changes nothing."""
    match = await get_match(session, match_id, lock=True)
    if match.state in {State.COMPLETED, State.VOID} and match.run_id == worker.run_id:
        return match
    match.admit(worker)
    _check_fit(match, report)
    now = await current_time(session)
    match.environment_version = report.environment_version
    if report.void:
        match.annul(report.void, now)
    else:
        match.finish(report.winner, report.steps, now)
    for seat, told in zip(match.seats, report.seats, strict=True):
        _note(seat, told, counts=not report.void)
    if not report.void:
        await _count(session, match)
    if report.replay and match.with_replay:
        session.add(Replay(match_id=match.id, sha256=report.replay_sha256, content=report.replay))
        match.has_replay = True
    await ending.announce(session, match)
    return match


def _check_fit(match: Match, report: Report) -> None:
    if len(report.seats) != len(match.seats):
        raise errors.invalid_argument("seats", f"must be {len(match.seats)}, as the match has")
    if report.void:
        return
    if report.winner is not None and not 0 <= report.winner < len(match.seats):
        raise errors.invalid_argument("winner", "must be a place of the match")
    won = [place for place, seat in enumerate(report.seats) if seat.score == 1]
    if won != ([] if report.winner is None else [report.winner]):
        raise errors.invalid_argument("winner", "must be the one seat whose score is 1")


def _note(seat: MatchSeat, told: match_pb2.MatchSeat, *, counts: bool) -> None:
    seat.score = told.score if counts else None
    seat.fault = told.fault
    seat.message = told.message
    seat.time_used_s = told.time_used_s


async def _count(session: AsyncSession, match: Match) -> None:
    """Add a match to the records of its agents, in an order that no two matches can cross."""
    scores = {seat.agent_id: seat.score for seat in match.seats if seat.agent_id}
    for agent_id in sorted(scores):
        agent = await get_agent(session, agent_id, lock=True)
        agent.count(scores[agent_id] or 0.0)


async def claim_build(
    session: AsyncSession, build_id: str, worker: Principal
) -> referee_service_pb2.ClaimBuildResponse:
    """Let a worker take a build up."""
    build = await _locked_build(session, build_id)
    build.admit(worker)
    submission = await session.get_one(Submission, build.submission_id, with_for_update=True)
    if build.state is State.PENDING:
        submission.move(SubmissionState.BUILDING)
    build.take_up(await current_time(session))
    agent = await get_agent(session, submission.agent_id)
    return referee_service_pb2.ClaimBuildResponse(
        archive=(await _archives(session, [submission.id]))[submission.id],
        name=agent.name,
        game=agent.game,
        seed=seed_of(submission.id),
    )


def read_verdict(request: referee_service_pb2.FinishBuildRequest) -> Verdict:
    """Check a verdict; raise INVALID_ARGUMENT naming the field that is wrong."""
    is_refusal = bool(request.code or request.is_platform_fault)
    return Verdict(
        # Without a sentence the code would count as playable.
        error=parse.text(request.error, "error", min_length=int(is_refusal), max_length=_MAX_ERROR),
        code=parse.text(request.code, "code", min_length=0, max_length=_MAX_CODE),
        log=parse.text(request.log, "log", min_length=0, max_length=_MAX_LOG),
        is_platform_fault=request.is_platform_fault,
    )


async def finish_build(
    session: AsyncSession, build_id: str, verdict: Verdict, worker: Principal
) -> None:
    """End a build, once; a repeat by the same run changes nothing."""
    build = await _locked_build(session, build_id)
    if build.state in {State.COMPLETED, State.FAILED} and build.run_id == worker.run_id:
        return
    build.admit(worker)
    build.log = verdict.log
    now = await current_time(session)
    if not verdict.error:
        build.end(State.COMPLETED, now)
    elif verdict.is_platform_fault:
        build.fail(verdict.error, now)
        build.stop_due = False
    else:
        build.refuse(verdict.error, verdict.code or "REFUSED", now)
    await ending.announce(session, build)


async def _locked_build(session: AsyncSession, build_id: str) -> Build:
    build = await session.get(Build, build_id, with_for_update=True)
    if build is None:
        raise errors.not_found("build", build_id)
    return build
