"""A match is fair, ends, and can be told again; who plays are built-ins, or sandboxes of a test."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.evaluator.v1 import match_pb2
from elodrome.evaluator.v1 import seat_pb2 as pb

from referee import archives
from referee.matches import BUILTINS, Fault, Limits, RemoteSandboxes, Result, Seat, play
from referee.sandbox import frames
from referee.sandbox.sandboxes import Death, SandboxError
from services.evaluator.servicers import agents, matches
from tests.referee_matches import a_match, archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGENT = archive("def act(observation): return 0")


class Scripted:
    """A sandbox whose answers a function gives; it goes away where that returns None."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def death(self) -> Death:
        return Death("it went away")


class ScriptedSandboxes:
    """Sandboxes of this process: a seat answers as `answer` says."""

    def __init__(self, answer: Callable[[pb.SeatRequest], pb.SeatResponse | None]) -> None:
        self.answer = answer
        self.asked: list[pb.SeatRequest] = []

    @contextlib.contextmanager
    def open(self, seat: int, limits: Limits) -> Iterator[Scripted]:
        del seat, limits
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,))
        thread.start()
        with ours:
            yield Scripted(ours)
        thread.join()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(frames.ClosedError):
            while True:
                request = frames.receive(connection, pb.SeatRequest)
                self.asked.append(request)
                if request.WhichOneof("message") == "code":
                    continue
                answer = self.answer(request)
                if answer is None:
                    return
                frames.send(connection, answer)


def first(request: pb.SeatRequest) -> pb.SeatResponse:
    """Answer as an agent that always plays its first legal action."""
    if request.WhichOneof("message") == "start":
        return pb.SeatResponse(ready=pb.Ready())
    observe = request.observe
    return pb.SeatResponse(move=pb.Move(step=observe.step, action=observe.legal_actions[0]))


def against_random(sandboxes: Any, **limits: Any) -> Result:
    return play(
        "tic_tac_toe",
        [Seat("submitted", archive=AGENT), Seat("other", builtin="random")],
        seed=1,
        limits=Limits(**limits),
        sandboxes=sandboxes,
        on_step=lambda _steps: True,
    )


def without_times(replay: dict[str, Any]) -> str:
    """Return the bytes of a replay but for what a clock said."""
    frames_ = [frame | {"time_ms": 0} for frame in replay["frames"]]
    seats = [seat | {"time_used_s": 0} for seat in replay["result"]["seats"]]
    result = replay["result"] | {"seats": seats}
    return json.dumps(replay | {"frames": frames_, "result": result})


@pytest.mark.parametrize("game", ["connect_four", "tic_tac_toe"])
def test_the_same_seed_and_agents_make_the_same_replay(game: str) -> None:
    replays = [
        without_times(a_match("random", "random", game=game, seed=seed).replay)
        for seed in (5, 5, 6)
    ]
    assert replays[0] == replays[1] != replays[2]


def test_seats_draw_from_seeds_of_their_own_which_the_replay_tells() -> None:
    seats = a_match("random", "random", seed=5).replay["seats"]
    assert len({5, *(seat["seed"] for seat in seats)}) == 3
    assert [seat["seed"] for seat in a_match("first", "first", seed=5).replay["seats"]] == [
        seat["seed"] for seat in seats
    ]


def test_a_replay_tells_the_game_from_the_first_position_to_the_last() -> None:
    result = a_match("first", "random", seed=3)
    replay = json.loads(json.dumps(result.replay))
    assert (replay["game"], replay["seed"]) == ("connect_four", 3)
    assert replay["environment_version"].startswith("pettingzoo ")
    assert [frame["step"] for frame in replay["frames"]] == list(range(result.steps))
    assert [frame["seat"] for frame in replay["frames"][:4]] == [0, 1, 0, 1]
    assert not any(map(any, replay["frames"][0]["state"]["board"]))
    positions = [frame["state"] for frame in replay["frames"]] + [replay["result"]["state"]]
    boards = [list(itertools.chain(*position["board"])) for position in positions]
    changed = [
        sum(piece != then for piece, then in zip(board, after, strict=True))
        for board, after in itertools.pairwise(boards)
    ]
    assert changed == [1] * result.steps
    assert all(frame["action"] in frame["legal_actions"] for frame in replay["frames"])
    assert replay["result"]["winner"] == result.winner


def test_scores_add_up() -> None:
    scores = {
        tuple(seat.score for seat in a_match("random", "random", game="tic_tac_toe", seed=s).seats)
        for s in range(20)
    }
    assert scores == {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)}


def test_a_draw_has_no_winner() -> None:
    results = [a_match("random", "random", game="tic_tac_toe", seed=s) for s in range(20)]
    drawn = [result for result in results if result.winner is None]
    assert drawn
    assert {(result.void, result.cancelled, result.steps) for result in drawn} == {("", False, 9)}


def test_an_agent_is_asked_with_the_code_its_seat_and_what_it_may_play() -> None:
    sandboxes = ScriptedSandboxes(first)
    result = against_random(sandboxes, step_s=3)
    kinds = [request.WhichOneof("message") for request in sandboxes.asked]
    assert kinds[:3] == ["code", "start", "observe"]
    assert sandboxes.asked[0].code.chunk == AGENT
    start, observe = sandboxes.asked[1].start, sandboxes.asked[2].observe
    assert (start.game, start.seat, start.seat_count) == ("tic_tac_toe", 0, 2)
    assert start.seed == result.replay["seats"][0]["seed"]
    assert (list(observe.observation.shape), len(observe.observation.values)) == ([3, 3, 2], 18)
    assert list(observe.legal_actions) == list(range(9))
    assert 0 < observe.time_left_ms <= 3000
    assert [request.observe.step for request in sandboxes.asked[2:]] == [
        frame["step"] for frame in result.replay["frames"] if frame["seat"] == 0
    ]


@pytest.mark.parametrize(
    ("move", "fault"),
    [
        (pb.Move(step=0, action=9), Fault.ILLEGAL_ACTION),
        (pb.Move(step=0, action=-(1 << 31)), Fault.ILLEGAL_ACTION),
        (pb.Move(step=1, action=0), Fault.PROTOCOL),
        (pb.Move(step=0), Fault.PROTOCOL),
        (pb.Move(step=0, resign=True), Fault.NONE),
        (None, Fault.CRASHED),
    ],
)
def test_who_does_not_play_on_loses_and_nobody_plays_instead(
    move: pb.Move | None, fault: Fault
) -> None:
    def answer(request: pb.SeatRequest) -> pb.SeatResponse | None:
        if request.WhichOneof("message") == "start":
            return first(request)
        return None if move is None else pb.SeatResponse(move=move)

    result = against_random(ScriptedSandboxes(answer))
    assert [seat.score for seat in result.seats] == [0.0, 1.0]
    assert (result.winner, result.void, result.seats[0].fault) == (1, "", fault)
    assert result.seats[0].message
    assert len(result.replay["frames"]) == 1
    assert not any(map(any, result.replay["result"]["state"]["board"]))


def test_a_match_that_ends_before_its_first_step_has_a_replay_that_says_why() -> None:
    result = against_random(ScriptedSandboxes(lambda _: None))
    assert result.replay["frames"] == []
    assert result.replay["result"]["seats"][0]["fault"] == "CRASHED"
    assert result.replay["result"]["seats"][0]["message"] == "it went away"


def test_a_failure_in_an_agents_words_is_bounded_and_printable() -> None:
    failure = pb.Failure(kind=pb.Failure.KIND_EXCEPTION, message="\x1b[31m\n" + "x" * 60_000)
    sandboxes = ScriptedSandboxes(lambda _: pb.SeatResponse(failure=failure))
    message = against_random(sandboxes).seats[0].message
    assert len(message) == 1000
    assert message.isprintable()


@pytest.mark.parametrize("words", ["", " \x1b\n"])
def test_a_failure_without_words_is_a_failure_that_says_so(words: str) -> None:
    failure = pb.Failure(kind=pb.Failure.KIND_EXCEPTION, message=words)
    result = against_random(ScriptedSandboxes(lambda _: pb.SeatResponse(failure=failure)))
    assert (result.seats[0].fault, result.seats[0].message) == (
        Fault.CRASHED,
        "it did not say why",
    )


def test_an_agent_that_gets_no_memory_is_told_apart() -> None:
    failure = pb.Failure(kind=pb.Failure.KIND_OUT_OF_MEMORY, message="MemoryError")
    sandboxes = ScriptedSandboxes(lambda _: pb.SeatResponse(failure=failure))
    assert against_random(sandboxes).seats[0].fault == Fault.OUT_OF_MEMORY


def test_a_match_without_a_sandbox_counts_for_nobody() -> None:
    class Nowhere:
        def open(self, seat: int, limits: Limits) -> contextlib.AbstractContextManager[Scripted]:
            del limits
            raise SandboxError(f"the sandbox of seat {seat} did not start: no space left")

    result = against_random(Nowhere())
    assert result.void == "the sandbox of seat 0 did not start: no space left"
    assert (result.winner, result.steps) == (None, 0)
    assert [(seat.score, seat.fault) for seat in result.seats] == [(0.0, Fault.NONE)] * 2
    assert result.replay["result"]["void"] == result.void


def test_a_pod_that_never_comes_voids_the_match() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    result = against_random(RemoteSandboxes([address], start_s=0.1))
    assert result.void.startswith(f"the sandbox of seat 0 at {address} was not there within 0.1 s")


def test_a_match_can_be_cancelled_after_any_step() -> None:
    told: list[int] = []
    result = play(
        "connect_four",
        [Seat("a", builtin="first"), Seat("b", builtin="first")],
        seed=0,
        limits=Limits(),
        sandboxes=RemoteSandboxes([]),
        on_step=lambda steps: told.append(steps) or steps < 3,
    )
    assert told == [1, 2, 3]
    assert (result.cancelled, result.winner, result.void) == (True, None, "")
    assert [seat.score for seat in result.seats] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"game": "chess"}, "game: 'chess' is none of"),
        ({"seed": -1}, r"seed: -1 is not in \[0, 2147483648\)"),
        ({"seats": [Seat("alone", builtin="first")]}, "seats: a match has 2, not 1"),
        ({"seats": [Seat("a", builtin="first"), Seat("b")]}, r"seats\[1\]: give either"),
        ({"seats": [Seat("a", AGENT, "first"), Seat("b")]}, r"seats\[0\]: give either"),
        ({"seats": [Seat("a", builtin="best")] * 2}, r"seats\[0\].builtin: 'best' is none of"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(changed: dict[str, Any], words: str) -> None:
    asked: dict[str, Any] = {"game": "tic_tac_toe", "seats": [Seat("", builtin="first")] * 2}
    asked |= {"seed": 0, "limits": Limits(), "sandboxes": RemoteSandboxes([])}
    asked |= {"on_step": lambda _steps: True} | changed
    with pytest.raises(ValueError, match=words):
        play(asked.pop("game"), asked.pop("seats"), **asked)


@pytest.mark.parametrize("address", ["", "host", ":7000", "host:port", "host:"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port"):
        RemoteSandboxes([address])


def test_referees_and_the_evaluator_mean_the_same() -> None:
    assert matches.BUILTINS == BUILTINS
    assert agents.MAX_ARCHIVE_BYTES == archives.LARGEST_ARCHIVE_BYTES
    told = {
        name.removeprefix("MATCH_FAULT_") for name in match_pb2.MatchFault.DESCRIPTOR.values_by_name
    }
    assert told - {"UNSPECIFIED"} == set(Fault) - {Fault.NONE}
