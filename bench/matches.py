"""What a match costs: through the platform, and without it."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg

from bench.report import Row
from deploy.laptop.postgres import Postgres
from referee.matches import Limits, LocalSandboxes, Seat, play

if TYPE_CHECKING:
    from bench.http import Connection
    from bench.install import Install

ROUNDS = 10
MATCHES = 40
LOCAL = 40
GAME = "connect_four"
LIMIT_S = 120
SOURCE = """
def act(observation):
    legal = observation["legal_actions"]
    return min(legal, key=lambda column: abs(column - 3))
"""


async def measure(install: Install) -> list[Row]:
    """Play between two submitted agents: one match at a time, then as many as there are slots."""
    admin = await install.admin()
    agents = [await _agent(admin, name) for name in ("one", "other")]
    alone = [await _seconds(admin, agents) for _ in range(ROUNDS)]
    before = _database_bytes(install)
    begin = time.perf_counter()
    started = [await _start(admin, agents) for _ in range(MATCHES)]
    ended = [await _ended(admin, match) for match in started]
    took_s = time.perf_counter() - begin
    runs = [await admin.json("GET", f"/api/v1/runs/{match['run_id']}") for match in ended]
    cpu_s = median(run["cpu_s"] for run in runs)
    grown = (_database_bytes(install) - before) / MATCHES / 1e3
    steps = ended[0]["steps"]
    return [
        Row("POST matches to its result, one at a time", median(alone), "s"),
        Row("matches at once", MATCHES / took_s, "1/s", detail={"matches": MATCHES}),
        Row("a match's referee and sandboxes", cpu_s, "CPU s", detail={"steps": steps}),
        Row("databases grow by", grown, "kB a match"),
        await asyncio.to_thread(_without_platform),
    ]


def _without_platform() -> Row:
    archive = _archive()
    seats = [Seat(name, archive) for name in ("one", "other")]
    seconds = []
    for seed in range(LOCAL):
        begin = time.perf_counter()
        result = play(
            GAME,
            seats,
            seed=seed,
            limits=Limits(),
            sandboxes=LocalSandboxes(),
            on_step=lambda _: True,
        )
        seconds.append(time.perf_counter() - begin)
        if result.void:
            raise RuntimeError(result.void)
    detail: dict[str, float | int | str] = {"steps": result.steps, "slowest s": max(seconds)}
    return Row(
        "a match in two sandboxes, without the platform", median(seconds), "s", detail=detail
    )


async def _agent(admin: Connection, name: str) -> str:
    agent = await admin.json("POST", "/api/v1/agents", {"name": name, "game": GAME})
    path = f"/api/v1/agents/{agent['id']}/submissions"
    submission = await admin.json("POST", path, _archive())
    deadline = time.monotonic() + LIMIT_S
    while submission["state"] in {"PENDING", "BUILDING"} and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        submission = await admin.json("GET", f"/api/v1/submissions/{submission['id']}")
    if submission["state"] != "ACTIVE":
        raise RuntimeError(f"the submission is {submission['state']}: {submission['build']}")
    return str(agent["id"])


async def _start(admin: Connection, agents: list[str]) -> dict[str, Any]:
    seats = [{"agent_id": agent} for agent in agents]
    return await admin.json("POST", "/api/v1/matches", {"game": GAME, "seats": seats})


async def _ended(admin: Connection, match: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT_S
    while match["state"] in {"PENDING", "RUNNING"} and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        match = await admin.json("GET", f"/api/v1/matches/{match['id']}")
    if match["state"] != "COMPLETED":
        raise RuntimeError(f"the match is {match['state']}: {match['error']}")
    return match


async def _seconds(admin: Connection, agents: list[str]) -> float:
    begin = time.perf_counter()
    await _ended(admin, await _start(admin, agents))
    return time.perf_counter() - begin


def _database_bytes(install: Install) -> int:
    postgres = Postgres(install.home, install.record["postgres_passwords"])
    with psycopg.connect(postgres.url().replace("+psycopg", "")) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def _archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("agent.py", SOURCE)
    return content.getvalue()
