"""From `POST runs` to the first step in the environment."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.report import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.http import Connection
    from bench.install import Install

ROUNDS = 5
LIMIT_S = 60
CONFIG = {"algorithm": "PPO", "game": "doom", "scenario": "basic"}


async def measure(install: Install) -> list[Row]:
    """Start runs one after another, see the first step each time, cancel, report the median."""
    admin = await install.admin()
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run = await admin.json("POST", "/api/v1/runs", {"type": "TRAINING", "config": CONFIG})
        path = f"/api/v1/runs/{run['id']}"
        await _poll(admin, path, lambda run: run["progress"]["step"] > 0)
        seconds.append(time.perf_counter() - begin)
        await admin.json("POST", f"{path}/cancel", {})
        await _poll(admin, path, lambda run: run["state"] == "CANCELLED")
    detail: dict[str, float | int | str] = {"slowest s": max(seconds), "rounds": ROUNDS}
    return [
        Row("POST runs to first environment step, median", median(seconds), "s", 5, detail=detail)
    ]


async def _poll(admin: Connection, path: str, reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    run = await admin.json("GET", path)
    while not reached(run):
        if run["state"] == "FAILED" or time.monotonic() > deadline:
            raise RuntimeError(f"the run is {run['state']}: {run['last_error']}")
        await asyncio.sleep(0.02)
        run = await admin.json("GET", path)
