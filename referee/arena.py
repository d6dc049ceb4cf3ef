"""One attempt at a match of submitted agents, or at a build of one submission."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import match_pb2
from elodrome.evaluator.v1 import referee_service_pb2 as referee_pb

from referee.archives import ArchiveError, check
from referee.matches import Fault, Limits, LocalSandboxes, RemoteSandboxes, Seat, play
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from referee.evaluator import Evaluator
    from referee.matches import Result, Sandboxes
    from referee.sandbox.sandboxes import Sandbox
    from trainer.attempt import Attempt

ADDRESSES = "ELODROME_AGENTS"
"""Where the sandboxes of the submitted seats wait, in their order, as `host:port,host:port`."""
_OPPONENT = Seat("random", None, builtin="random")
_MAX_TEXT = 2_000


def hold_match(attempt: Attempt, evaluator: Evaluator, match_id: str) -> Request:
    """Let a match be played and report its result; one that is stopped has none."""
    claim = referee_pb.ClaimMatchRequest(match_id=match_id)
    task = evaluator.call("claiming the match", evaluator.stub.ClaimMatch, claim)
    seats = [
        Seat(seat.name, archive or None, builtin=seat.builtin)
        for seat, archive in zip(task.match.seats, task.archives, strict=True)
    ]
    result = _play(attempt, task.match.game, seats, task.match.seed)
    if result.cancelled:
        return attempt.request()
    report = referee_pb.FinishMatchRequest(
        match_id=match_id,
        winner=None if result.void else result.winner,
        seats=[_seat(result, place) for place in range(len(seats))],
        steps=result.steps,
        environment_version=result.environment_version,
        void=result.void[:_MAX_TEXT],
        replay=_packed(result.replay) if task.with_replay else b"",
    )
    evaluator.call("finishing the match", evaluator.stub.FinishMatch, report)
    return Request.GO_ON


def build(attempt: Attempt, evaluator: Evaluator, build_id: str) -> Request:
    """Check a submission and try it, and say whether it is playable."""
    claim = referee_pb.ClaimBuildRequest(build_id=build_id)
    task = evaluator.call("claiming the build", evaluator.stub.ClaimBuild, claim)
    verdict = referee_pb.FinishBuildRequest(build_id=build_id)
    log: list[str] = []
    try:
        names = check(task.archive)
    except ArchiveError as error:
        verdict.error, verdict.code = str(error)[:_MAX_TEXT], error.code
        log.append(f"archive: {error}")
    else:
        log.append(f"archive: {', '.join(names)[:_MAX_TEXT]}; {len(task.archive)} bytes")
        seats = (Seat(task.name, task.archive), _OPPONENT)
        result = _play(attempt, task.game, seats, task.seed)
        if result.cancelled:
            return attempt.request()
        log.append(f"validation game against {_OPPONENT.name}: {_said(result)}")
        _judge(result, verdict)
    verdict.log = "\n".join(log)
    evaluator.call("finishing the build", evaluator.stub.FinishBuild, verdict)
    return Request.GO_ON


def _play(attempt: Attempt, game: str, seats: Sequence[Seat], seed: int) -> Result:
    def on_step(steps: int) -> bool:
        attempt.lease.progress(iteration=steps, max_iterations=0, step=steps, phase="playing")
        return attempt.request() is Request.GO_ON

    submitted = [place for place, seat in enumerate(seats) if seat.archive is not None]
    return play(
        game, seats, seed=seed, limits=Limits(), sandboxes=_sandboxes(submitted), on_step=on_step
    )


def _sandboxes(places: Sequence[int]) -> Sandboxes:
    """Return where submitted seats play: pods that wait for us, or bubblewrap on this machine."""
    addresses = [address for address in os.environ.get(ADDRESSES, "").split(",") if address]
    if not addresses:
        return LocalSandboxes()
    return _Pods(places, RemoteSandboxes(addresses))


@dataclass(frozen=True)
class _Pods:
    """Pods of the submitted seats alone: built-in players need none."""

    places: Sequence[int]
    pods: RemoteSandboxes

    def open(self, seat: int, limits: Limits) -> AbstractContextManager[Sandbox]:
        """Reach the pod of a seat."""
        return self.pods.open(self.places.index(seat), limits)


def _judge(result: Result, verdict: referee_pb.FinishBuildRequest) -> None:
    """Say that code is playable unless it was at fault in its validation game."""
    seat = result.seats[0]
    if result.void:
        verdict.error, verdict.is_platform_fault = result.void[:_MAX_TEXT], True
    elif seat.fault is not Fault.NONE:
        verdict.error, verdict.code = seat.message[:_MAX_TEXT], seat.fault


def _said(result: Result) -> str:
    if result.void:
        return f"void, {result.void}"
    seat = result.seats[0]
    if seat.fault is not Fault.NONE:
        return f"{seat.fault}, {seat.message}"
    outcome = {0: "won", 1: "lost", None: "drawn"}[result.winner]
    return f"{outcome} after {result.steps} steps"


def _seat(result: Result, place: int) -> match_pb2.MatchSeat:
    seat = result.seats[place]
    fault = "UNSPECIFIED" if seat.fault is Fault.NONE else seat.fault
    return match_pb2.MatchSeat(
        score=seat.score,
        fault=f"MATCH_FAULT_{fault}",
        message=seat.message[:_MAX_TEXT],
        time_used_s=seat.time_used_s,
    )


def _packed(replay: dict[str, Any]) -> bytes:
    """Return a replay as gzip of JSON, the same bytes for the same replay.

    Everybody may read it, so what the code of a seat said is left out.
    """
    result = replay["result"]
    seats = [{**seat, "message": ""} for seat in result["seats"]]
    told = {**replay, "result": {**result, "seats": seats}}
    document = json.dumps(told, separators=(",", ":")).encode()
    return gzip.compress(document, mtime=0)
