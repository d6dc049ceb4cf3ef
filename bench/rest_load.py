"""REST under an open load: requests are due at fixed times, returned earlier ones or not."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from typing import TYPE_CHECKING

from bench.http import Connection
from bench.report import Row, percentile

if TYPE_CHECKING:
    from bench.install import Install

USERS = 50
RATE_PER_S = 200
DURATION_S = 30
READ_SHARE = 0.8


async def measure(install: Install) -> list[Row]:
    """Offer the load and report the 99th percentile from the moment a request was due."""
    users = [await _user(install) for _ in range(USERS)]
    await _offer(users, duration_s=3)
    latencies, errors = await _offer(users, duration_s=DURATION_S)
    detail: dict[str, float | int | str] = {
        "p50 ms": percentile(latencies, 0.5) * 1e3,
        "max ms": max(latencies) * 1e3,
        "requests": len(latencies),
        "errors": len(errors),
    }
    for status, count in sorted((s, errors.count(s)) for s in set(errors)):
        detail[f"status {status}"] = count
    return [
        Row(
            "REST p99, 50 users, 200 requests/s",
            percentile(latencies, 0.99) * 1e3,
            "ms",
            50,
            detail=detail,
        ),
        Row("REST errors under that load", len(errors), "requests", 0),
    ]


class _User:
    """A person with a connection, a model and a run that reports from outside."""

    def __init__(self, connection: Connection, model_id: str, run_id: str) -> None:
        self.connection = connection
        self.free = asyncio.Lock()
        self._steps = itertools.count(1)
        self._model_id = model_id
        self._run_id = run_id

    def request(self) -> tuple[str, str, object]:
        """Choose the next request: four reads to one write."""
        if random.random() < READ_SHARE:
            return random.choice(
                [
                    ("GET", "/api/v1/users/me", None),
                    ("GET", f"/api/v1/models/{self._model_id}", None),
                    ("GET", "/api/v1/runs?page_size=20", None),
                    ("GET", f"/api/v1/runs/{self._run_id}", None),
                    ("GET", f"/api/v1/runs/{self._run_id}/metrics/latest", None),
                ]
            )
        step = next(self._steps)
        metrics = {"step": step, "values": {"loss": 1 / step, "return": float(step)}}
        return random.choice(
            [
                ("POST", f"/api/v1/runs/{self._run_id}/metrics", metrics),
                ("PATCH", f"/api/v1/runs/{self._run_id}", {"notes": f"step {step}"}),
                (
                    "POST",
                    "/api/v1/models",
                    {"name": f"m-{secrets.token_hex(6)}"},
                ),
            ]
        )


async def _user(install: Install) -> _User:
    connection = await Connection.open(install.http_port)
    account = {
        "email": f"{secrets.token_hex(6)}@example.org",
        "password": secrets.token_urlsafe(16),
    }
    answer = await connection.json("POST", "/api/v1/auth/register", account)
    connection.token = answer["access_token"]
    name = {"name": f"m-{secrets.token_hex(6)}"}
    model = await connection.json("POST", "/api/v1/models", name)
    run = await connection.json("POST", "/api/v1/runs", {"type": "EXTERNAL", "name": "outside"})
    return _User(connection, model["id"], run["id"])


async def _offer(users: list[_User], duration_s: float) -> tuple[list[float], list[int]]:
    latencies: list[float] = []
    errors: list[int] = []

    async def one(user: _User, due: float) -> None:
        async with user.free:
            status, _ = await user.connection.request(*user.request())
        latencies.append(time.perf_counter() - due)
        if status >= 400:
            errors.append(status)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for i in range(int(duration_s * RATE_PER_S)):
            due = begin + i / RATE_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(users[i % len(users)], due))
    return latencies, errors
