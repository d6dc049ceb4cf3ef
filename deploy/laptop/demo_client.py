"""REST as a patient caller speaks it: every call survives a service that is being restarted."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 60.0

_RETRIED = {429, 502, 503, 504}
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_CALL_TIMEOUT_S = 20.0
_STREAM_SILENCE_S = 45.0


class RefusedError(RuntimeError):
    """The platform refused a call, or did not answer it for a minute."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class StoryError(RuntimeError):
    """Something that the story tells did not happen."""


def expect(condition: object, complaint: str) -> None:
    """Raise StoryError with the complaint unless the condition holds."""
    if not condition:
        raise StoryError(complaint)


@dataclass(frozen=True)
class Event:
    """One event of a stream: its cursor, what it is, and its fields."""

    cursor: str
    name: str
    data: dict[str, Any]


class Client:
    """A REST client that is signed in; paths start after /api/v1."""

    def __init__(self, url: str, email: str, password: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=_CALL_TIMEOUT_S)
        self._login = {"email": email, "password": password}

    def sign_in(self) -> dict[str, Any]:
        """Sign in, anew when the token has run out; returns the answer with the user."""
        self._http.headers.pop("authorization", None)
        answer = self.post("/auth/login", self._login)
        self._http.headers["authorization"] = f"Bearer {answer['access_token']}"
        return answer

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Read a resource."""
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make or do something once, however often the call has to be repeated."""
        headers = {"idempotency-key": str(uuid.uuid4())}
        return self._call("POST", path, json=body, headers=headers)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change a resource."""
        return self._call("PATCH", path, json=body)

    def refusal(self, path: str, body: dict[str, Any]) -> RefusedError:
        """Return how a POST that must be refused is refused; raises AssertionError if it is not."""
        try:
            answer = self.post(path, body)
        except RefusedError as error:
            return error
        raise AssertionError(f"{path} was accepted: {answer}")

    def watch(self, path: str, within_s: float) -> Iterator[Event]:
        """Follow a stream to its `done` event, resuming after the last event when it breaks.

        Raises RefusedError when the stream is refused or lasts longer than `within_s`.
        """
        give_up = time.monotonic() + within_s
        cursor = ""
        while time.monotonic() < give_up:
            try:
                for event in self._events(path, cursor):
                    cursor = event.cursor or cursor
                    yield event
                    if event.name == "done":
                        return
            except httpx.TransportError:
                pass  # the stream broke with its service; it is resumed below
            time.sleep(_FIRST_PAUSE_S)
        raise RefusedError(504, "STREAM_TOO_LONG", f"{path} did not end within {within_s:.0f} s")

    def _events(self, path: str, cursor: str) -> Iterator[Event]:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": cursor} if cursor else {})
        timeout = httpx.Timeout(_CALL_TIMEOUT_S, read=_STREAM_SILENCE_S)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.status_code in _RETRIED:
                return
            if response.is_error:
                response.read()
                raise _refused(response)
            yield from _parse(response.iter_lines())

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        give_up = time.monotonic() + PATIENCE_S
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                refused = RefusedError(0, "UNREACHABLE", str(error))
            else:
                if response.is_success:
                    return response.json() if response.content else {}
                refused = _refused(response)
                if response.status_code == httpx.codes.UNAUTHORIZED and self._renew(path):
                    continue
                if not _is_passing(response):
                    raise refused
            if time.monotonic() > give_up:
                raise refused
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _renew(self, path: str) -> bool:
        """Sign in again after a token ran out; False where that cannot help."""
        if path == "/auth/login" or "authorization" not in self._http.headers:
            return False
        self.sign_in()
        return True


def _is_passing(response: httpx.Response) -> bool:
    """Tell whether the same call may succeed later: 409 with a time means the first one runs."""
    held = response.status_code == httpx.codes.CONFLICT and "retry-after" in response.headers
    return held or response.status_code in _RETRIED


def _refused(response: httpx.Response) -> RefusedError:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError):
        return RefusedError(response.status_code, "UNKNOWN", response.text[:200])
    return RefusedError(response.status_code, error["reason"], error["message"])


def _parse(lines: Iterator[str]) -> Iterator[Event]:
    """Turn the lines of a text/event-stream into events; comments keep the stream alive only."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
        elif "data" in fields:
            if fields.get("event") == "error":
                return  # the service behind the stream went away: resume
            name = fields.get("event", "message")
            yield Event(fields.get("id", ""), name, json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}
