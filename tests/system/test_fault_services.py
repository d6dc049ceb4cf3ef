"""The database dies under writes, services are replaced under load: nothing lost or doubled."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx

from deploy.bus import SERVICES
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.stack import Stack

_AGAIN = {502, 503, 504}
DRAIN_S = 20


# F18
def test_database_killed_under_writes(new_stack: Callable[..., Stack]) -> None:
    own = new_stack().start()
    stop = threading.Event()
    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(_write_models, own, stop) for _ in range(4)]
        for _ in range(2):
            stop.wait(2)
            own.wait_replaced("postgres", own.kill("postgres"), within_s=60)
        stop.wait(2)
        stop.set()
        written = [writer.result() for writer in writers]
    acknowledged = {name for created, _ in written for name in created}
    refused = [answer for _, answers in written for answer in answers]
    names = [row["name"] for row in own.rows("registry", "SELECT name FROM models")]
    assert len(acknowledged) > 50
    assert acknowledged <= set(names)
    assert len(names) == len(set(names))
    for answer in refused:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        assert set(answer.json()["error"]) == {"code", "reason", "message", "field", "request_id"}


def _write_models(stack: Stack, stop: threading.Event) -> tuple[list[str], list[httpx.Response]]:
    """Create models as fast as they are taken; returns the names taken and every refusal."""
    client = stack.admin()
    created, refused = [], []
    while not stop.is_set():
        name = f"model-{uuid.uuid4()}"
        answer = client.post("/models", json={"name": name})
        if answer.status_code == 201:
            created.append(name)
        else:
            refused.append(answer)
            stop.wait(0.1)
    return created, refused


# F25
def test_every_service_replaced_under_load(new_stack: Callable[..., Stack]) -> None:
    own = new_stack().start()
    client = own.admin()
    run_id = client.post("/runs", json={"type": "EXTERNAL", "name": "rolling"}).json()["id"]
    stop = threading.Event()
    with ThreadPoolExecutor(5) as threads:
        readers = [threads.submit(_read, own.admin(), run_id, stop) for _ in range(3)]
        writer = threads.submit(_log_steps, own.admin(), run_id, stop)
        watcher = threads.submit(_watch, own.admin(), run_id)
        drained = [_replace(own, name) for name in SERVICES]
        stop.set()
        steps = writer.result()
        reads = sum(reader.result() for reader in readers)
        assert _patient(client, "POST", f"/runs/{run_id}/finish", json={}).is_success
        seen = watcher.result(60)
    assert reads > 20
    assert len(steps) > 20
    assert seen == steps
    assert max(drained) < DRAIN_S


def _replace(stack: Stack, name: str) -> float:
    """End a service in an orderly way; returns how long it took to end, in seconds."""
    begin = time.monotonic()
    old = stack.kill(name, signal.SIGTERM)
    eventually_sync(lambda: old.process() is None, within_s=30)
    took = time.monotonic() - begin
    stack.wait_replaced(name, old)
    return took


def _patient(client: httpx.Client, method: str, path: str, **body: Any) -> httpx.Response:
    """Repeat a request that changes nothing when repeated, until it is answered."""

    def attempt() -> httpx.Response | None:
        try:
            answer = client.request(method, path, **body)
        except httpx.TransportError:
            return None
        return None if answer.status_code in _AGAIN else answer

    return eventually_sync(attempt, within_s=30)


def _read(client: httpx.Client, run_id: str, stop: threading.Event) -> int:
    paths = ["/models", f"/runs/{run_id}", "/suites", "/users/me", "/sessions"]
    for count, path in enumerate(itertools.cycle(paths)):
        answer = _patient(client, "GET", path)
        assert answer.is_success, f"{path}: {answer.text}"
        if stop.wait(0.05):
            return count
    raise AssertionError


def _log_steps(client: httpx.Client, run_id: str, stop: threading.Event) -> list[int]:
    """Log one point a step until told to stop; returns the steps."""
    for step in itertools.count(1):
        body = {"step": step, "values": {"loss": 1 / step}}
        answer = _patient(client, "POST", f"/runs/{run_id}/metrics", json=body)
        assert answer.is_success, answer.text
        if stop.wait(0.05):
            return list(range(1, step + 1))
    raise AssertionError


def _watch(client: httpx.Client, run_id: str) -> list[int]:
    """Follow the run to its end, resuming where the stream broke; returns every step in order."""
    cursor, steps = "", []
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up:
        try:
            for event in _events(client, run_id, cursor):
                cursor = event["id"]
                if event["event"] == "metrics":
                    steps.append(json.loads(event["data"])["step"])
                if event["event"] == "done":
                    return steps
        except httpx.TransportError:
            continue
    raise AssertionError(f"no end after {len(steps)} steps")


def _events(client: httpx.Client, run_id: str, cursor: str) -> Iterator[dict[str, str]]:
    headers = {"last-event-id": cursor} if cursor else {}
    with client.stream("GET", f"/runs/{run_id}/watch", headers=headers) as answer:
        if answer.status_code in _AGAIN:
            return
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif fields.get("event") == "error":
                return
            else:
                yield from [fields] if "event" in fields else []
                fields = {}
