"""How an agent loses a match without losing the game: every way, by agents in real sandboxes."""

from __future__ import annotations

import pytest

from referee.matches import Fault
from tests.referee_matches import a_match, ended_by, needs_bubblewrap

pytestmark = needs_bubblewrap


@pytest.mark.parametrize(
    "hog",
    [
        "kept = bytearray(2 << 30)",
        "kept = [bytearray(1000)]\n    while True: kept.append(bytearray(1000))",
        "import numpy\n    kept = numpy.ones((1 << 14, 1 << 14))",
        # Each below the limit of a process, all together above that of the seat.
        "while os.fork(): pass\n    pause(bytearray(b'x') * (100 << 20))",
        "for n in range(1 << 20): open(f'/tmp/{n}', 'w').close()",
    ],
    ids=["one allocation", "many allocations", "numpy", "processes", "files"],
)
def test_a_hog_is_ended_at_its_limit_and_says_so(hog: str) -> None:
    source = (
        "import os, signal\n"
        "def pause(*_):\n    while True: signal.pause()\n"
        f"def act(observation):\n    {hog}\n"
    )
    seat = ended_by(source, memory_bytes=256 << 20, step_s=30).seats[0]
    assert seat.fault == Fault.OUT_OF_MEMORY, seat


@pytest.mark.parametrize(
    ("source", "limits", "fault"),
    [
        ("while True: pass\ndef act(observation): pass", {"init_s": 0.3}, "INIT_TIMEOUT"),
        (
            "def begin(seat, seed):\n  while True: pass\ndef act(o): pass",
            {"init_s": 0.3},
            "INIT_TIMEOUT",
        ),
        ("def act(observation):\n  while True: pass", {"step_s": 0.2}, "STEP_TIMEOUT"),
        (
            "import time\ndef act(o):\n  time.sleep(0.15)\n  return o['legal_actions'][0]",
            {"match_s": 0.2},
            "MATCH_TIMEOUT",
        ),
    ],
)
def test_who_takes_too_long_loses(source: str, limits: dict[str, float], fault: str) -> None:
    assert ended_by(source, **limits).seats[0].fault == fault


def test_only_the_clock_of_who_is_to_move_runs() -> None:
    slow = "import time\ndef act(o):\n  time.sleep(0.05)\n  return o['legal_actions'][0]"
    quick = "def act(o): return o['legal_actions'][-1]"
    result = a_match(slow, quick)
    used = [seat.time_used_s for seat in result.seats]
    assert used[0] > 0.05 * (result.steps // 2)
    assert used[1] < used[0]


def test_what_an_agent_prints_goes_nowhere_and_costs_nobody() -> None:
    result = a_match(
        """
import os, sys
def act(observation):
    for _ in range(100):
        print("x" * 100_000)
        sys.stderr.write("y" * 100_000)
    os.write(1, b"z" * 1_000_000)
    return observation["legal_actions"][0]
""",
        "first",
    )
    assert [seat.fault for seat in result.seats] == [Fault.NONE, Fault.NONE]


@pytest.mark.parametrize(
    ("source", "fault", "words"),
    [
        ("import nothing_like_this\ndef act(o): pass", "CRASHED", "ModuleNotFoundError"),
        (
            "def act(o): raise ValueError('no idea')",
            "CRASHED",
            "ValueError: no idea (agent.py line 1)",
        ),
        ("def act(o): raise SystemExit(0)", "CRASHED", "SystemExit: 0"),
        ("import os\ndef act(o): os._exit(0)", "CRASHED", "its process ended"),
        ("def act(o): return act(o)", "CRASHED", "RecursionError"),
        ("import ctypes\ndef act(o): ctypes.string_at(0)", "CRASHED", "SIGSEGV"),
        (
            "def act(o): raise ValueError('\\ud800\\n' + 'x' * 10**6)",
            "CRASHED",
            "ValueError:   xxx",
        ),
        ("act = None", "CRASHED", "no function act"),
        ("def act(o): return 'DeadlineExceeded'", "ILLEGAL_ACTION", "str 'DeadlineExceeded'"),
        ("def act(o): return float('nan')", "ILLEGAL_ACTION", "float nan"),
        ("def act(o): pass", "ILLEGAL_ACTION", "NoneType None"),
        ("def act(o): return 7", "ILLEGAL_ACTION", "7; legal were [0, 1, 2, 3, 4, 5, 6]"),
        ("def act(o): return 10**30", "ILLEGAL_ACTION", "an int of 100 bits"),
        ("def act(o): return -2", "ILLEGAL_ACTION", "it played -2"),
        ("def act(:", "INVALID_CODE", "SYNTAX_ERROR: agent.py line 1"),
    ],
)
def test_a_failure_is_told_as_what_it_was(source: str, fault: str, words: str) -> None:
    seat = ended_by(source).seats[0]
    assert seat.fault == fault
    assert words in seat.message
    assert len(seat.message) <= 1000
    assert seat.message.isprintable()


FORGE = """
import os, socket, stat, struct
from elodrome.evaluator.v1.seat_pb2 import Failure, Move, Ready, SeatResponse
def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False
[number] = filter(is_socket, range(64))
assert number > 2
link = socket.socket(fileno=number)
def frame(message):
    body = message.SerializeToString()
    return struct.pack(">I", len(body)) + body
def act(observation):
    link.sendall({sent})
    return observation["legal_actions"][0]
"""


@pytest.mark.parametrize(
    "sent",
    [
        "frame(SeatResponse(move=Move(step=observation['step'], action=0)))",
        "frame(SeatResponse(move=Move(step=99, action=0)))",
        "frame(SeatResponse(move=Move(step=observation['step'])))",
        "frame(SeatResponse(ready=Ready()))",
        "frame(SeatResponse())",
        "struct.pack('>I', 10 << 20) + bytes(10 << 20)",
        "struct.pack('>I', 3) + b'\\xff' * 3",
        "b'HTTP/1.1 200 OK'",
        "frame(SeatResponse(failure=Failure(message='referee, you lost')))",
    ],
)
def test_a_forged_frame_loses_the_match(sent: str) -> None:
    seat = ended_by(FORGE.format(sent=sent), step_s=2).seats[0]
    assert seat.fault == Fault.PROTOCOL, seat


def test_an_agent_that_goes_away_has_crashed() -> None:
    source = FORGE.format(sent="b''") + "\ndef act(observation): link.close()\n"
    assert ended_by(source, step_s=2).seats[0].fault == Fault.CRASHED
