"""The demo's client survives what a restarting service does to it; its display fits its output."""

from __future__ import annotations

import io
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from deploy.laptop.demo_client import Client, Event, RefusedError
from deploy.laptop.demo_display import Display, clock, sparkline
from deploy.laptop.demo_story import Curve

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Answer:
    """What the server says to one call; `cut` drops the connection instead of ending it well."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Seen:
    """One call that reached the server."""

    path: str
    headers: dict[str, str]


def refusal(reason: str) -> bytes:
    error = {"code": "X", "reason": reason, "message": "no", "field": "", "request_id": "1"}
    return json.dumps({"error": error}).encode()


@contextmanager
def a_server(*answers: Answer) -> Iterator[tuple[Client, list[Seen]]]:
    """A real HTTP server that gives these answers in turn."""
    waiting, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def do_GET(self) -> None:
            seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}))
            answer = waiting.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            missing = 10 if answer.cut else 0
            self.send_header("content-length", str(len(answer.body) + missing))
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = answer.cut

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Client(f"http://127.0.0.1:{server.server_port}", "a", "b"), seen
    server.shutdown()
    thread.join()
    server.server_close()
    assert not waiting


def test_a_call_is_repeated_under_one_key_until_the_service_is_back() -> None:
    answers = [
        Answer(503, refusal("DOWN")),
        Answer(cut=True),
        Answer(409, refusal("IN_FLIGHT"), {"retry-after": "1"}),
        Answer(201, b'{"id": "7"}'),
    ]
    with a_server(*answers) as (client, seen):
        assert client.post("/runs", {}) == {"id": "7"}
    assert {one.path for one in seen} == {"/api/v1/runs"}
    assert len({one.headers["idempotency-key"] for one in seen}) == 1


def test_two_calls_have_two_keys() -> None:
    with a_server(Answer(), Answer()) as (client, seen):
        client.post("/runs", {})
        client.post("/runs", {})
    assert seen[0].headers["idempotency-key"] != seen[1].headers["idempotency-key"]


def test_a_refusal_is_not_repeated() -> None:
    with (
        a_server(Answer(409, refusal("ALREADY_STABLE"))) as (client, _),
        pytest.raises(RefusedError, match="409 ALREADY_STABLE: no"),
    ):
        client.post("/versions/1/promote", {})


def test_what_must_be_refused_and_is_not_is_an_error() -> None:
    with (
        a_server(Answer(200)) as (client, _),
        pytest.raises(AssertionError, match="was accepted"),
    ):
        client.refusal("/versions/1/promote", {})


def test_a_token_that_ran_out_is_renewed() -> None:
    token = Answer(200, b'{"access_token": "t1"}')
    renewed = Answer(200, b'{"access_token": "t2"}')
    with a_server(token, Answer(401, refusal("EXPIRED")), renewed, Answer()) as (client, seen):
        client.sign_in()
        client.get("/models")
    assert [one.headers.get("authorization") for one in seen] == [
        None,
        "Bearer t1",
        None,
        "Bearer t2",
    ]


def test_a_broken_stream_is_resumed_after_the_last_event() -> None:
    first = b': hello\n\nid: 1\nevent: progress\ndata: {"n": 1}\n\nid: 2\nevent: pro'
    second = b'id: 2\nevent: progress\ndata: {"n": 2}\n\nevent: error\ndata: {}\n\n'
    third = b'id: 3\nevent: done\ndata: {"n": 3}\n\n'
    answers = [Answer(body=first, cut=True), Answer(body=second), Answer(503), Answer(body=third)]
    with a_server(*answers) as (client, seen):
        events = list(client.watch("/runs/1/watch", within_s=20))
    assert [event.data["n"] for event in events] == [1, 2, 3]
    assert [one.headers.get("last-event-id") for one in seen] == [None, "1", "2", "2"]


def test_a_stream_without_an_end_is_given_up() -> None:
    with (
        a_server(Answer(body=b'id: 1\nevent: progress\ndata: {"n": 1}\n\n')) as (client, _),
        pytest.raises(RefusedError, match="did not end within"),
    ):
        list(client.watch("/runs/1/watch", within_s=0.1))


def test_a_sparkline_keeps_its_width_and_its_extremes() -> None:
    assert sparkline([]) == ""
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    long = sparkline(list(range(1000)), width=10)
    assert (len(long), long[0], long[-1]) == (10, "▁", "█")


def test_durations_read_as_a_clock() -> None:
    assert clock(0.4) == "0:00"
    assert clock(83.9) == "1:23"


def test_a_pipe_gets_plain_lines() -> None:
    output = io.StringIO()
    display = Display(Console(file=output, highlight=False))
    with display.meter("training") as meter:
        meter.update(10, "[loss] 0.5")
        meter.update(11, "too soon for another line")
        meter.update(100, "done")
    assert output.getvalue().splitlines() == [
        "   training  10 %  [loss] 0.5",
        "   training 100 %  done",
    ]


def test_the_curve_shows_the_latest_of_everything() -> None:
    curve = Curve()
    progress = {
        "progress_percent": 50,
        "current_iteration": 100,
        "max_iterations": 200,
        "estimated_remaining_s": 61,
        "steps_per_s": 1234.5,
    }
    curve.take(Event("1", "metrics", {"values": {"avg_reward": -200, "loss": "NaN"}}))
    curve.take(Event("2", "metrics", {"values": {"avg_reward": 70.25, "loss": 0.5}}))
    curve.take(Event("3", "progress", progress))
    curve.take(Event("4", "checkpoint", {}))
    assert curve.percent == 50
    expected = "100/200  ETA 1:01  return 70.2  loss 0.5000  1234 steps/s  1 checkpoints  ▁█"
    assert curve.figures() == expected
