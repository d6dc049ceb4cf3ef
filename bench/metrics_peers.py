"""The same points through a bare COPY and through an MLflow server, on the install's Postgres."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg

from bench.http import Connection
from bench.install import ROOT
from bench.report import Row
from deploy.laptop.ports import free_port
from deploy.laptop.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.install import Install

MLFLOW = "mlflow==3.17.0"
SECONDS = 15
BATCH = 1000
CLIENTS = 4


async def measure(install: Install) -> list[Row]:
    """Report points per second of both."""
    postgres = Postgres(install.home, install.record["postgres_passwords"])
    rows = [Row("bare COPY, one row a point", _copy(postgres), "points/s", more_is_better=True)]
    async with _server(postgres) as port:
        stored = await _mlflow(port)
    rows.append(
        Row(f"{MLFLOW.replace('==', ' ')} log-batch", stored, "points/s", more_is_better=True)
    )
    return rows


def _copy(postgres: Postgres) -> float:
    plain = postgres.url().replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_points")
        connection.execute(
            "CREATE TABLE bench_points (run int, series int, step int8, value float8)"
        )
        begin = time.perf_counter()
        stored = 0
        while time.perf_counter() - begin < SECONDS:
            with connection.cursor().copy("COPY bench_points FROM STDIN") as copy:
                for step in range(stored, stored + 50 * BATCH):
                    copy.write_row((1, step % 10, step, step * 0.5))
            stored += 50 * BATCH
        elapsed = time.perf_counter() - begin
        connection.execute("DROP TABLE bench_points")
    return stored / elapsed


@asynccontextmanager
async def _server(postgres: Postgres) -> AsyncIterator[int]:
    """Run an MLflow server from an environment of its own, on a database of its own."""
    python = await asyncio.to_thread(_environment)
    postgres.execute("DROP DATABASE IF EXISTS mlflow", database="postgres")
    postgres.execute("CREATE DATABASE mlflow", database="postgres")
    store = postgres.url(database="mlflow").replace("+psycopg", "+psycopg2")
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--port", str(port), "--workers", "2"]
    with (postgres.home / "mlflow.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await _answering(port)
        yield port
    finally:
        server.terminate()
        await server.wait()


def _environment() -> Path:
    """Install MLflow beside, because its dependencies are not ours."""
    home = ROOT / ".build" / "peers"
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", MLFLOW, "psycopg2-binary"]
        subprocess.run(pip, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        (home / "installed").touch()
    return python


async def _answering(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            connection = await Connection.open(port)
            status, _ = await connection.request("GET", "/health")
        except OSError:
            status = 0
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("the MLflow server did not answer within 120 s")
        await asyncio.sleep(0.5)


async def _mlflow(port: int) -> float:
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(_client(port, begin + SECONDS)) for _ in range(CLIENTS)]
    return sum(client.result() for client in clients) / (time.perf_counter() - begin)


async def _client(port: int, end: float) -> int:
    api = "/api/2.0/mlflow/runs"
    connection = await Connection.open(port)
    run = await connection.json("POST", f"{api}/create", {"experiment_id": "0"})
    run_id = run["run"]["info"]["run_id"]
    stored = 0
    while time.perf_counter() < end:
        metrics = [
            {"key": f"series{i % 10}", "value": i * 0.5, "timestamp": 0, "step": stored + i}
            for i in range(BATCH)
        ]
        await connection.json("POST", f"{api}/log-batch", {"run_id": run_id, "metrics": metrics})
        stored += BATCH
    connection.close()
    return stored
