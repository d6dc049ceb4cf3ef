"""Frames arrive whole, or are refused; the other end can cost neither memory nor time."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from elodrome.evaluator.v1.seat_pb2 import Code, Move, Ready, SeatRequest, SeatResponse

from referee.sandbox import frames
from referee.sandbox.frames import ClosedError, FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def soon() -> float:
    return time.monotonic() + 5


def test_frames_arrive_in_order_and_whole(pair: Pair) -> None:
    ours, theirs = pair
    messages = [
        SeatResponse(ready=Ready()),
        SeatResponse(move=Move(step=3, action=2)),
        SeatResponse(move=Move(step=4, resign=True)),
    ]
    for message in messages:
        frames.send(theirs, message)
    assert [frames.receive(ours, SeatResponse, soon()) for _ in messages] == messages
    assert not frames.has_more(ours)


def test_the_largest_piece_of_code_fits(pair: Pair) -> None:
    ours, theirs = pair
    frames.send(ours, SeatRequest(code=Code(chunk=bytes(60_000))), soon())
    assert len(frames.receive(theirs, SeatRequest).code.chunk) == 60_000


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">I", 0),
        struct.pack(">I", frames.LARGEST_FRAME_BYTES + 1),
        struct.pack(">I", 0xFFFFFFFF),
        b"Deadline",
        struct.pack(">I", 3) + b"\xff\xff\xff",
        # Well-formed, of another kind.
        struct.pack(">I", 2) + b"\x7a\x00",
    ],
)
def test_what_is_no_frame_is_refused_unread(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    with pytest.raises(FrameError):
        frames.receive(ours, SeatResponse, soon())


def test_half_a_frame_is_waited_for_until_the_deadline(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack(">I", 100) + b"half")
    with pytest.raises(TimeoutError):
        frames.receive(ours, SeatResponse, time.monotonic() + 0.05)


def test_an_end_that_does_not_read_is_waited_for_until_the_deadline(pair: Pair) -> None:
    ours, _theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    message = SeatRequest(code=Code(chunk=bytes(60_000)))
    with pytest.raises(TimeoutError):
        frames.send(ours, message, time.monotonic() + 0.05)


def test_an_end_that_is_gone_is_told_from_one_that_is_late(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack(">I", 100) + b"half")
    theirs.close()
    with pytest.raises(ClosedError):
        frames.receive(ours, SeatResponse, soon())
    with pytest.raises(ClosedError):
        frames.send(ours, SeatRequest(code=Code(chunk=b"x")), soon())
    assert not frames.has_more(ours)


def test_what_comes_unasked_is_seen(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"x")
    assert frames.has_more(ours)
