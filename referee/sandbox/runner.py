"""Runs the agent of one seat and answers the referee for it; the only program of a sandbox.

    python -m referee.sandbox.runner --listen 7000     waits for a referee at this port, in a pod
    python -m referee.sandbox.runner --socket 5        an open descriptor, below bubblewrap

It gets the code from the referee, confines itself, and only then imports the agent. Its exit code
says nothing: whatever the referee needs to know it is told, or it sees the connection close.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import operator
import os
import socket
import sys
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1.seat_pb2 import Failure, Move, Ready, SeatRequest, SeatResponse

from referee.sandbox import confinement, frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elodrome.evaluator.v1.seat_pb2 import Observation, Observe, Start

RESIGN = -1
_LONGEST_MESSAGE = 1000
_LARGEST_ARCHIVE_BYTES = 1 << 20
_ACTIONS = range(-(1 << 31), 1 << 31)
_RESERVE_BYTES = 1 << 20


class _NoActionError(Exception):
    """What an agent decided is no action."""


class Runner:
    """The conversation with one referee, from the first frame to the last."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connection that nothing was said on yet."""
        self._connection = connection
        self._archive = bytearray()
        self._directory = ""
        self._agent: Any = None
        self._seat = 0
        self.is_confined = False

    def serve(self) -> None:
        """Answer until the agent failed; raises ClosedError when the match ends, FrameError."""
        while True:
            request = frames.receive(self._connection, SeatRequest)
            kind = request.WhichOneof("message")
            if kind == "confine":
                self.is_confined = True
                confinement.confine(request.confine)
                frames.send(self._connection, SeatResponse(ready=Ready()))
            elif not self.is_confined:
                raise frames.FrameError(f"{kind} where a sandbox is to confine itself first")
            elif kind == "code":
                self._archive += request.code.chunk
                if len(self._archive) > _LARGEST_ARCHIVE_BYTES:
                    raise frames.FrameError("more code than an archive may have")
            elif not self._answer(request):
                return

    def _answer(self, request: SeatRequest) -> bool:
        """Let the agent answer; say whether it did."""
        # Given back where an agent took all the memory there is, so that this can be said.
        reserve = bytearray(_RESERVE_BYTES)
        try:
            if request.WhichOneof("message") == "start":
                self._start(request.start)
                answer = SeatResponse(ready=Ready())
            else:
                answer = SeatResponse(move=self._decide(request.observe))
        # Whatever an agent raises is its failure, SystemExit too.
        except BaseException as error:  # noqa: BLE001
            del reserve
            answer = SeatResponse(failure=self._failure(error))
        frames.send(self._connection, answer)
        return answer.WhichOneof("message") != "failure"

    def _start(self, start: Start) -> None:
        self._directory = tempfile.mkdtemp(prefix="agent-")
        with zipfile.ZipFile(io.BytesIO(self._archive)) as archive:
            archive.extractall(self._directory)
        self._archive.clear()
        self._seat = start.seat
        _close_standard_streams()
        os.chdir(self._directory)
        sys.path.insert(0, self._directory)
        self._agent = importlib.import_module("agent")
        if not callable(getattr(self._agent, "act", None)):
            raise NameError("agent.py has no function act")  # noqa: TRY004 - of what is missing
        if hasattr(self._agent, "begin"):
            self._agent.begin(start.seat, start.seed)

    def _decide(self, observe: Observe) -> Move:
        decided = self._agent.act(
            {
                "step": observe.step,
                "seat": self._seat,
                "board": _nested(observe.observation),
                "legal_actions": list(observe.legal_actions),
                "time_left_ms": observe.time_left_ms,
            }
        )
        try:
            action = operator.index(decided)
        except TypeError:
            kind = type(decided).__name__
            raise _NoActionError(f"act returned {kind} {decided!r:.100}, no int") from None
        if action not in _ACTIONS:
            raise _NoActionError(f"act returned an int of {action.bit_length()} bits")
        if action == RESIGN:
            return Move(step=observe.step, resign=True)
        return Move(step=observe.step, action=action)

    def _failure(self, error: BaseException) -> Failure:
        """Say what an agent raised, and which line of its own did."""
        kind = Failure.KIND_EXCEPTION
        if isinstance(error, MemoryError):
            kind = Failure.KIND_OUT_OF_MEMORY
        elif isinstance(error, _NoActionError):
            kind = Failure.KIND_NO_ACTION
        name = "" if kind == Failure.KIND_NO_ACTION else type(error).__name__
        try:
            words = f"{error}"
        # The text of an exception is code of the agent too.
        except BaseException:  # noqa: BLE001
            words = ""
        message = ": ".join(part for part in (name, words) if part)[:_LONGEST_MESSAGE]
        place = self._place(error)
        printable = "".join(letter if letter.isprintable() else " " for letter in message)
        return Failure(kind=kind, message=printable[: _LONGEST_MESSAGE - len(place)] + place)

    def _place(self, error: BaseException) -> str:
        """Return the innermost line of the agent's own files; empty where there is none."""
        place, traceback = "", error.__traceback__
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename
            if file.startswith(self._directory + os.sep):
                name = file.removeprefix(self._directory + os.sep)
                place = f" ({name:.50} line {traceback.tb_lineno})"
            traceback = traceback.tb_next
        return place if place.isprintable() else ""


def _close_standard_streams() -> None:
    """Let what an agent prints go nowhere, at no cost to anybody."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _nested(observation: Observation) -> Any:  # noqa: ANN401 - as deep as the shape is long
    """Make lists of lists of an array."""
    rows: Any = list(observation.values)
    for length in reversed(observation.shape[1:]):
        rows = [rows[at : at + length] for at in range(0, len(rows), length)]
    return rows


def _listen(port: int) -> None:
    """Serve the first referee that begins a match; whoever only looks in does not count."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", port), family=family, dualstack_ipv6=dual) as server:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _serve(connection):
                return


def _serve(connection: socket.socket) -> bool:
    """Serve one referee; say whether it was one."""
    runner = Runner(connection)
    with connection, contextlib.suppress(frames.ClosedError, frames.FrameError):
        runner.serve()
    return runner.is_confined


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one match, then end at once, whatever threads the agent has."""
    parser = argparse.ArgumentParser(prog="referee.sandbox.runner")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listen", type=int, metavar="PORT", help="wait for a referee here")
    where.add_argument("--socket", type=int, metavar="FD", help="an open socket to the referee")
    parser.add_argument("--uid", type=int, help="become this user first; takes root")
    given = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != "0":
        # What an agent makes of a set of strings is the same in each match.
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - itself
    if given.uid is not None:
        confinement.become(given.uid)
    if given.listen is not None:
        _listen(given.listen)
    else:
        _serve(socket.socket(fileno=given.socket))
    os._exit(0)


if __name__ == "__main__":
    main()
