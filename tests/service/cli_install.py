"""An install that answers as a test says, over real HTTP on a loopback port."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Answer:
    """What the install sends. `cut` hangs up in the middle instead of ending well."""

    status: int = 200
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Request:
    """What the install was sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


def refusal(status: int, code: str, reason: str, message: str, **more: Any) -> Answer:
    error = {"code": code, "reason": reason, "message": message, "request_id": "r-1", **more}
    return Answer(status, {"error": error})


def events(*items: tuple[str, str, dict[str, Any]], cut: bool = False) -> Answer:
    """A stream of (id, event, data)."""
    raw = b"retry: 10\n\n" + b"".join(
        (f"id: {id_}\n" * bool(id_) + f"event: {event}\ndata: {json.dumps(data)}\n\n").encode()
        for id_, event, data in items
    )
    return Answer(raw=raw, headers={"content-type": "text/event-stream"}, cut=cut)


class Install:
    """Gives each route its answers in turn; the last one is given for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        self._lock = threading.Lock()

    def on(self, route: str, *answers: Answer | dict[str, Any] | list[Any]) -> None:
        """Answer `route`, such as "GET /runs", with these in turn; a dict is a body."""
        self._answers[route] = [
            one if isinstance(one, Answer) else Answer(body=one) for one in answers
        ]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            known = self._answers.get(f"{request.method} {request.path}")
            if not known:
                return refusal(404, "NOT_FOUND", "NO_ROUTE", f"no {request.path}")
            return known.pop(0) if len(known) > 1 else known[0]

    def sent(self, route: str) -> list[Request]:
        """The requests that came for a route."""
        return [one for one in self.requests if f"{one.method} {one.path}" == route]


@contextmanager
def running_install() -> Iterator[Install]:
    install = Install()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            content = self.rfile.read(length)
            target = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=target.path.removeprefix("/api/v1"),
                query=parse_qs(target.query),
                headers={key.lower(): value for key, value in self.headers.items()},
                body=json.loads(content) if content and self.command != "PUT" else content or None,
            )
            answer = install.answer(request)
            data = answer.raw if answer.raw is not None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data) + answer.cut))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = answer.cut

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names of the base

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    install.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield install
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
