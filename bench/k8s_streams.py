"""Event streams while every gateway is replaced: three of them, installed by the chart.

Followers of one run go on where their stream broke. What each has seen is compared with the whole
story of the run, told once it is over.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.report import Row
from deploy.laptop.demo_client import Client
from tests.system.platform import Platform

if TYPE_CHECKING:
    from deploy.laptop.demo_client import Event

FOLLOWERS = 15
POINTS_PER_S = 20
SETTINGS = {"requests_per_minute": 1_000_000}
_LIMIT_S = 300.0


def measure() -> list[Row]:
    with TemporaryDirectory(prefix="elodrome-bench-") as directory:
        platform = Platform(
            Path(directory) / "cluster", {"gateway": {"replicas": 3, "settings": SETTINGS}}
        )
        try:
            platform.install()
            return _measure(platform)
        finally:
            platform.stop()


def _measure(platform: Platform) -> list[Row]:
    client = Client(platform.url, "admin", platform.admin_password)
    client.sign_in()
    run = client.post("/runs", {"type": "EXTERNAL", "config": {}})
    path = f"/runs/{run['id']}/watch"
    with ThreadPoolExecutor(FOLLOWERS) as pool:
        following = [pool.submit(_follow, client, path) for _ in range(FOLLOWERS)]
        writing = _Writer(client, run["id"])
        began = time.monotonic()
        platform.upgrade(gateway={"podAnnotations": {"replaced": "once"}})
        took_s = time.monotonic() - began
        writing.stop()
        client.post(f"/runs/{run['id']}/finish", {"state": "COMPLETED"})
        seen = [follower.result() for follower in following]
    whole = _follow(client, path)
    lost = sum(len(set(whole) - set(told)) for told in seen)
    repeated = sum(len(told) - len(set(told)) for told in seen)
    detail: dict[str, float | int | str] = {
        "followers": FOLLOWERS,
        "events each": len(whole),
        "upgrade s": took_s,
    }
    return [
        Row("events lost while 3 gateways are replaced", lost, "events", 0, detail=detail),
        Row("events told twice meanwhile", repeated, "events", 0),
    ]


def _follow(client: Client, path: str) -> list[str]:
    """Return what a stream tells, in that order; its end has the cursor of the event before."""
    events: list[Event] = list(client.watch(path, _LIMIT_S))
    return [f"{event.cursor} {event.name}" for event in events if event.cursor]


class _Writer:
    """Appends points to a run, evenly, until it is told to stop."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._path = f"/runs/{run_id}/metrics"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _write(self) -> None:
        step = 0
        while not self._stopped.wait(1 / POINTS_PER_S):
            step += 1
            self._client.post(self._path, {"step": step, "values": {"score": float(step)}})
