"""What a person or a script may not send: refused with field and reason, and nothing is stored."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.stack import Stack

NOWHERE = "0f8fad5b-d9cb-469f-a165-70867728950e"
PASSWORD = "correct horse battery"
METADATA_SERVICE = "http://169.254.169.254/latest"
Refused = tuple[str, str, dict[str, Any], str]

# Method, path, body, and the field that the answer must name.
BODIES: list[Refused] = [
    ("POST", "/auth/register", {"role": "ADMIN"}, "role"),
    ("POST", "/auth/register", {"is_active": True}, "is_active"),
    ("POST", "/auth/register", {"id": NOWHERE}, "id"),
    ("PATCH", "/users/me", {"role": "ADMIN"}, "role"),
    ("POST", "/models", {"name": "a", "owner_id": NOWHERE}, "owner_id"),
    ("POST", "/models", {"name": 5}, "name"),
    ("POST", "/models", {"name": "../../etc"}, "name"),
    ("POST", "/models", {"name": "a\u0000b"}, "name"),
    ("POST", "/runs", {"type": "MINING"}, "type"),
    ("POST", "/runs", {"config": [1]}, "config"),
    ("POST", "/runs", {"config": {"path": "/etc/passwd"}}, "config.path"),
    ("POST", "/runs", {"config": {"url": METADATA_SERVICE}}, "config.url"),
    ("POST", "/runs", {"config": {"gamma": "NaN"}}, "config.gamma"),
    ("POST", "/runs", {"priority": 1.5}, "priority"),
    ("POST", "/training/start", {"max_iterations": "many"}, "max_iterations"),
    ("POST", "/suites", {"name": "s", "scenarios": []}, "scenarios"),
    ("POST", "/evals/run", {"checkpoint_id": "../x", "suite_id": NOWHERE}, "checkpoint_id"),
    ("POST", "/gate-policies", {"name": "p", "rules": 7}, "rules"),
    ("POST", "/sessions/start", {"mode": "DUELL"}, "mode"),
    ("POST", f"/sessions/{NOWHERE}/event", {"t_ms": -1, "type": "shot"}, "t_ms"),
    ("POST", "/api-keys", {"name": "k", "scopes": ["ROOT"]}, "scopes[0]"),
    ("POST", "/stream-tickets", {"path": METADATA_SERVICE}, "path"),
]
QUERIES = [
    ("/runs?page_size=1000000000", "page_size"),
    ("/models?page_size=-1", "page_size"),
    ("/sessions?page_size=2e9", "page_size"),
    ("/evaluations?page_token=@@", "page_token"),
    ("/runs?states=NOPE", "states[0]"),
    ("/suites?regex=(a%2B)%2B$", "regex"),
    (f"/models/{NOWHERE}/stable?as_of=yesterday", "as_of"),
]


@pytest.fixture(scope="module")
def person(stack: Stack) -> Callable[[], httpx.Client]:
    """Return a maker of signed-in people."""

    def sign_in() -> httpx.Client:
        client = stack.anonymous()
        account = {"email": f"{uuid.uuid4().hex[:12]}@example.org", "password": PASSWORD}
        session = client.post("/auth/register", json=account).json()
        assert session["user"]["role"] == "USER"
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {session['access_token']}"
        return client

    return sign_in


@pytest.fixture(scope="module")
def ada(person: Callable[[], httpx.Client]) -> httpx.Client:
    return person()


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error = answer.json()["error"]
    assert error["request_id"]
    assert error["message"]
    return error


def stored(stack: Stack) -> dict[str, int]:
    """Return the rows of the tables that a refused request could have written to."""
    tables = {
        "gateway": ["users", "api_keys"],
        "registry": ["models", "versions", "checkpoints"],
        "executor": ["runs", "metric_chunks"],
        "evaluator": ["suites", "evaluations", "gate_policies"],
        "sessions": ["sessions", "session_events"],
    }
    return {
        f"{service}.{table}": stack.rows(service, f"SELECT count(*) AS n FROM {table}")[0]["n"]
        for service, names in tables.items()
        for table in names
    }


def test_a_wrong_body_is_refused_by_its_field_and_leaves_nothing(
    stack: Stack, ada: httpx.Client
) -> None:
    before = stored(stack)
    for method, path, body, field in BODIES:
        answer = ada.request(method, path, json=body)
        error = error_of(answer)
        assert (answer.status_code, error["field"]) == (422, field), (path, body, error)
        assert error["code"] == "INVALID_ARGUMENT"
    assert stored(stack) == before


def test_a_wrong_query_is_refused_by_its_field(ada: httpx.Client) -> None:
    for path, field in QUERIES:
        answer = ada.get(path)
        assert (answer.status_code, error_of(answer)["field"]) == (422, field), path


@pytest.mark.parametrize(
    "segment", ["..%2f..%2fetc%2fpasswd", "%252e%252e", "..%5c..", "a%00b", "x" * 300]
)
def test_a_path_that_tries_to_escape_is_refused_wherever_files_are(
    ada: httpx.Client, segment: str
) -> None:
    digest = "a" * 64
    for method, path in (
        ("GET", f"/checkpoints/{segment}/download"),
        ("GET", f"/versions/{segment}/download"),
        ("GET", f"/runs/{segment}/logs"),
        ("GET", f"/runs/{segment}/metrics"),
        ("PUT", f"/runs/{segment}/checkpoints/{digest}"),
        ("PUT", f"/runs/{NOWHERE}/checkpoints/{segment}"),
    ):
        answer = ada.request(method, path)
        assert (answer.status_code, error_of(answer)["reason"]) == (400, "BAD_PATH"), path
    for odd in (";/../", "/etc/passwd"):
        assert ada.get(f"/runs/{odd}/logs").status_code in {400, 404, 422}


def test_a_script_writes_numbers_that_are_none_and_no_steps_that_are_none(
    ada: httpx.Client,
) -> None:
    run = ada.post("/runs", json={"type": "EXTERNAL"}).json()["id"]
    metrics = f"/runs/{run}/metrics"
    good = {"name": "loss", "steps": [1, 2, 3], "values": ["NaN", "Infinity", 0.5]}
    bad = {"name": "loss", "steps": [-1, 2**60], "values": [1, 1]}
    answer = ada.post(metrics, json={"series": [good]})
    assert answer.json()["stored_count"] == 3
    answer = ada.post(metrics, json={"series": [bad]})
    assert [item["index"] for item in answer.json()["rejected"]] == [0, 1]
    for body in (
        '{"series": [{"name": "loss", "steps": [9], "values": [1e400]}]}',
        '{"series": [{"name": "loss", "steps": [9], "values": [NaN]}]}',
        '{"series": [{"name": "loss\\u0000", "steps": [9], "values": [1]}]}',
        '{"series": [{"name": "loss", "steps": [9], "values": ["x"]}]}',
        '{"series": [{"name": "loss", "steps": [9, 10], "values": [1]}]}',
        '{"path": "/etc/passwd"}',
        f'{{"url": "{METADATA_SERVICE}"}}',
    ):
        headers = {"content-type": "application/json"}
        answer = ada.post(metrics, content=body, headers=headers)
        assert answer.status_code == 422, body
        assert error_of(answer)["field"]
    shown = ada.get(metrics).json()["series"][0]
    assert (shown["steps"], shown["values"]) == ([1, 2, 3], ["NaN", "Infinity", 0.5])
    assert ada.get(f"{metrics}/latest").json()["series"][0]["nonfinite_count"] == 2


def test_what_belongs_to_another_does_not_exist(
    ada: httpx.Client, person: Callable[[], httpx.Client]
) -> None:
    bob = person()
    run = ada.post("/runs", json={"type": "EXTERNAL"}).json()["id"]
    name = f"private-{uuid.uuid4().hex[:8]}"
    model = ada.post("/models", json={"name": name, "private": True}).json()["id"]
    series = {"series": [{"name": "loss", "steps": [1], "values": [1]}]}
    digest = "a" * 64
    for method, path, body in (
        ("GET", f"/runs/{run}", None),
        ("GET", f"/runs/{run}/watch", None),
        ("GET", f"/runs/{run}/logs", None),
        ("GET", f"/runs/{run}/metrics", None),
        ("GET", f"/runs/{run}/diff/{run}", None),
        ("POST", f"/runs/{run}/metrics", series),
        ("POST", f"/runs/{run}/stop", None),
        ("POST", f"/runs/{run}/clone", {}),
        ("PATCH", f"/runs/{run}", {"name": "mine"}),
        ("DELETE", f"/runs/{run}", None),
        ("PUT", f"/runs/{run}/checkpoints/{digest}", None),
        ("GET", f"/models/{model}", None),
        ("PATCH", f"/models/{model}", {"description": "mine"}),
        ("DELETE", f"/models/{model}", None),
        ("PUT", f"/models/{model}/aliases/champion", {"version_id": NOWHERE}),
    ):
        answer = bob.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert error_of(answer)["code"] == "NOT_FOUND"
    assert ada.get(f"/runs/{run}").json()["state"] == "RUNNING"
    assert ada.get(f"/runs/{run}/metrics").json()["series"] == []


@pytest.mark.parametrize("end", ["sign out", "lose the account"])
def test_a_stream_ends_soon_after_its_session(
    stack: Stack, person: Callable[[], httpx.Client], end: str
) -> None:
    eve = person()
    run = eve.post("/runs", json={"type": "EXTERNAL"}).json()["id"]
    with httpx.Client(base_url=eve.base_url, headers=eve.headers, timeout=15) as second:
        with second.stream("GET", f"/runs/{run}/watch") as stream:
            lines = stream.iter_lines()
            assert stream.status_code == 200
            while not next(lines).startswith("event: "):
                pass
            if end == "sign out":
                assert eve.post("/auth/logout").is_success
            else:
                mine = eve.get("/users/me").json()["id"]
                gone = stack.admin().patch(f"/users/{mine}", json={"is_active": False})
                assert gone.status_code == 200, gone.text
            ended = time.monotonic()
            rest = list(lines)
            assert time.monotonic() - ended < 12
        assert "event: error" in rest
        said = next(line for line in reversed(rest) if line.startswith("data: "))
        assert json.loads(said.removeprefix("data: "))["error"]["code"] == "UNAUTHENTICATED"
        assert second.get(f"/runs/{run}/watch").status_code == 401


def test_a_stream_takes_no_position_of_another_stream(ada: httpx.Client) -> None:
    first, second = (ada.post("/runs", json={"type": "EXTERNAL"}).json()["id"] for _ in range(2))
    cursor = ada.get(f"/runs/{first}/metrics").json()["cursor"]
    for position in (cursor, "0", "../1", "x" * 5000):
        answer = ada.get(f"/runs/{second}/watch", headers={"last-event-id": position})
        assert (answer.status_code, error_of(answer)["field"]) == (422, "cursor"), position[:20]


def test_a_checkpoint_that_is_code_is_refused_through_the_edge(
    stack: Stack, ada: httpx.Client
) -> None:
    run = ada.post("/runs", json={"type": "EXTERNAL"}).json()["id"]
    before = stored(stack)
    pickled = b"cos\nsystem\n(S'touch " + str(stack.home / "marker").encode() + b"'\ntR."
    for content in (pickled, b"PK\x03\x04" + bytes(600), b"x", (100 << 20).to_bytes(8, "little")):
        for digest, status, reason in (
            (_digest(content), 422, "INVALID_CHECKPOINT"),
            ("a" * 64, 409, "DIGEST_MISMATCH"),
        ):
            answer = ada.put(f"/runs/{run}/checkpoints/{digest}", content=content)
            found = (answer.status_code, error_of(answer)["reason"])
            assert found == (status, reason), content[:10]
    assert stored(stack) == before
    assert not (stack.home / "marker").exists()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
